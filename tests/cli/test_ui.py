"""`dsnn-hpo ui`: a real MLflow server on the run's own store."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from queue import Queue

import pytest

from dsnn_hpo.experiment import ExperimentConfig, front_members, start

EXPERIMENT = """\
name: tiny
task: {dataset: digits, model: mlp, n_train: 300, n_validation: 100}
search_space: dsnn
objectives: [error, model_size_bytes]
fidelity: {min_epochs: 1, max_epochs: 1}
optimizer: random
budget: {trials: 3}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.timeout(300)
def test_ui_serves_the_run_and_prints_its_address(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(EXPERIMENT)
    outcome = start(ExperimentConfig.from_file(file), tmp_path / "run")
    port = free_port()
    command = [sys.executable, "-m", "dsnn_hpo", "ui", outcome.folder.path, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        lines: Queue[str] = Queue()
        reader = threading.Thread(target=lambda: [lines.put(line) for line in server.stdout], daemon=True)
        reader.start()
        try:
            charts = lines.get(timeout=150).strip()
            address = lines.get(timeout=5).strip()
            found = re.fullmatch(rf"page: +http://127\.0\.0\.1:{port}/#/experiments/(\d+)/runs/(\w+)\?.*", address)
            assert found, address
            # The first line is the one that a user follows.
            assert charts.startswith(f"charts:  http://127.0.0.1:{port}/#/experiments/{found[1]}/runs?")
            assert f"viewStateShareKey=dsnn-hpo-{found[2]}" in charts
            url = f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get?run_id={found[2]}"
            with urllib.request.urlopen(url, timeout=30) as answer:
                run = json.load(answer)["run"]
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)
    assert server.returncode == 0
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    # The description shows the front.
    for member in front_members(outcome.history):
        assert f"[{member.trial}](" in tags["mlflow.note.content"]


def test_a_port_that_is_taken_is_an_input_error(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(EXPERIMENT)
    outcome = start(ExperimentConfig.from_file(file), tmp_path / "run")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "dsnn_hpo", "ui", outcome.folder.path, "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in ended.stderr
