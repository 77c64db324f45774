"""The benchmark of measuring runs, and says what it found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dsnn_hpo import kernels

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "energy.py"


@pytest.mark.slow
@pytest.mark.skipif(kernels.isa() is None, reason="the executor's kernels are not compiled")
def test_a_quick_run_has_all_figures(tmp_path):
    command = [sys.executable, str(SCRIPT), "--quick", "--scope", "process", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Energy is ")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["values_j"]) == 3
    assert all(value > 0 for value in figures["values_j"])
    assert {"in turns", "at once"} == figures["beside"].keys()
    assert figures["window_ms"] > 0
