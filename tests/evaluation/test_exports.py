from __future__ import annotations

import subprocess
import sys

import pytest

from dsnn_hpo import evaluation


def test_every_listed_name_is_there():
    for name in {*evaluation.__all__} - {"MEASURED_FIGURES"}:
        assert getattr(evaluation, name).__module__.startswith("dsnn_hpo.evaluation.")


def test_other_names_are_missing():
    with pytest.raises(AttributeError, match="has no attribute 'evaluat'"):
        evaluation.evaluat  # noqa: B018 - the access is what is tested


def test_reading_the_schema_does_not_load_torch():
    code = "import sys; from dsnn_hpo.evaluation import TaskConfig; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
