"""A small real experiment, and running the command line as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENT = """\
name: small
task: {dataset: digits, model: cnn, n_train: 200, n_validation: 100, model_arguments: {width: 4, depth: 1}}
search_space: dsnn
objectives: [error, model_size_bytes]
fidelity: {min_epochs: 1, max_epochs: 3, eta: 3}
optimizer: smac
budget: {trials: 18}
"""


@pytest.fixture
def experiment_file(tmp_path: Path) -> Path:
    """Returns the file of an experiment whose objectives are deterministic."""
    file = tmp_path / "small.yaml"
    file.write_text(EXPERIMENT)
    return file


def start_cli(*arguments: object) -> subprocess.Popen[str]:
    """Returns the started command."""
    return subprocess.Popen(
        [sys.executable, "-m", "dsnn_hpo", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def cli():
    """Returns a function that starts the command line; what is left of it at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        started.append(start_cli(*arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
