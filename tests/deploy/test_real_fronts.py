"""Each member of real fronts shipped in every way: the accuracy is the reported one, exactly."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dsnn_hpo import tracking
from dsnn_hpo.data import load_dataset, load_split, prepare
from dsnn_hpo.experiment import ExperimentConfig, export_trial, start
from tests.cli.test_commands import dsnn_hpo
from tests.data.test_idx import DEBIAN
from tests.tracking.conftest import free_port

EXPERIMENT = """\
name: real
task: {TASK}
search_space: dsnn
objectives: [error, model_size_bytes]
optimizer: {name: smac}
fidelity: {min_epochs: 1, max_epochs: 3}
budget: {trials: 12}
seed: 3
"""
TASKS = {
    "digits": "{dataset: digits, model: cnn}",
    "fashion_mnist": "{dataset: fashion_mnist, model: cnn, model_arguments: {width: 8, depth: 2}, n_train: 2000, "
    "n_validation: 500}",
}
N_A_REQUEST = 1000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]


@pytest.fixture(
    scope="module",
    params=[
        "digits",
        pytest.param(
            "fashion_mnist",
            marks=pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist"),
        ),
    ],
)
def run(request, tmp_path_factory):
    """Returns the outcome of a finished search."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "real.yaml").write_text(EXPERIMENT.replace("{TASK}", TASKS[request.param]))
    return start(ExperimentConfig.from_file(folder / "real.yaml"), folder / "run")


def parts_of(run):
    """Returns the validation and test parts of a run's data, and the errors that each member reports on them."""
    dataset = run.history.header.experiment["task"]["dataset"]
    data = prepare(load_dataset(dataset), load_split(run.folder.split))
    return {"validation": data.validation, "test": data.test}


def reported(member):
    return {"validation": member.values["error"], "test": member.test_values["error"]}


def error_of(indices, samples):
    return sum(a != b for a, b in zip(indices, samples.labels.tolist(), strict=True)) / len(samples)


def test_predict_has_the_reported_errors(run, tmp_path):
    parts, classes = parts_of(run), load_dataset(run.history.header.experiment["task"]["dataset"]).classes
    for member in run.history.front():
        to = tmp_path / str(member.trial.id)
        export_trial(run.folder.path, member.trial.id, to)
        for part, samples in parts.items():
            np.save(tmp_path / f"{part}.npy", samples.images.numpy())
            ended = dsnn_hpo("predict", to, tmp_path / f"{part}.npy", "--json")
            found = [classes.index(entry["label"]) for entry in json.loads(ended.stdout)]
            assert error_of(found, samples) == reported(member)[part], (member.trial.id, part)


def test_the_compiled_c_file_has_the_reported_errors(run, tmp_path):
    for member in run.history.front():
        to = tmp_path / str(member.trial.id)
        export_trial(run.folder.path, member.trial.id, to, "c")
        library = to / "model.so"
        command = ["gcc", "-std=c99", "-Wall", "-Werror", "-O2", "-shared", "-fPIC", to / "model.c", "-o", library]
        subprocess.run(command, check=True)
        predict = ctypes.CDLL(str(library)).model_predict
        for part, samples in parts_of(run).items():
            found = [predict(image.ctypes) for image in np.ascontiguousarray(samples.images.numpy())]
            assert error_of(found, samples) == reported(member)[part], (member.trial.id, part)


def test_a_served_logged_model_has_the_reported_errors(run):
    from dsnn_hpo.tracking.mlflow import MlflowClient

    uri = f"sqlite:///{run.folder.path / 'mlflow.db'}"
    client = MlflowClient(uri)
    models = {
        int(model.tags["dsnn_hpo.trial"]): model for model in client.search_logged_models([run.mirror.experiment_id])
    }
    for member in run.history.front():
        with served(f"models:/{models[member.trial.id].model_id}", uri) as address:
            for part, samples in parts_of(run).items():
                found = [index for images in samples.images.split(N_A_REQUEST) for index in asked(address, images)]
                assert error_of(found, samples) == reported(member)[part], (member.trial.id, part)


@contextmanager
def served(model, uri):
    """Returns the address at which ``mlflow models serve`` answers."""
    port, program = free_port(), Path(sys.executable).parent
    command = [program / "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", str(port)]
    paths = f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}"
    environment = {**tracking.ui_environment(), "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": paths}
    environment["PATH"] = f"{program}:{os.environ['PATH']}"
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        tracking.wait_until_up(f"http://127.0.0.1:{port}", 120, server)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def asked(address, images):
    """Returns the indices that the server answers with."""
    body = json.dumps({"inputs": images.tolist()}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return [row["index"] for row in json.load(answer)["predictions"]]
