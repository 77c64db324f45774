"""`dsnn-hpo sync` and `dsnn-hpo register` on a run."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from dsnn_hpo.experiment import ExperimentConfig, RunFolder, read_run, start, sync_run
from dsnn_hpo.tracking.mlflow import MlflowClient
from tests.cli.test_commands import dsnn_hpo
from tests.tracking.conftest import Store, free_port, serving

EXPERIMENT = """\
name: tiny
task: {dataset: digits, model: mlp, n_train: 300, n_validation: 100}
search_space: dsnn
objectives: [error, model_size_bytes]
fidelity: {min_epochs: 1, max_epochs: 1}
optimizer: random
budget: {trials: 4}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sync")
    file = folder / "tiny.yaml"
    file.write_text(EXPERIMENT)
    return start(ExperimentConfig.from_file(file), folder / "run")


def content(database):
    """How many rows of each kind a store has."""
    with closing(sqlite3.connect(database)) as connection:
        tables = ("runs", "metrics", "params", "tags", "logged_models", "inputs", "experiment_tags")
        return {table: connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}


@pytest.mark.timeout(600)
def test_a_run_is_written_into_another_store_once(finished, tmp_path):
    database = tmp_path / "laptop" / "mlflow.db"
    arguments = ("sync", finished.folder.path, "--tracking-uri", f"sqlite:///{database}", "--experiment", "elsewhere")
    ended = dsnn_hpo(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"4 configurations are in MLflow at sqlite:///{database}\n")
    assert "4 of 4 configurations" in ended.stderr
    first = content(database)
    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("elsewhere")
    assert len(client.search_runs([experiment.experiment_id])) == 5
    assert experiment.artifact_location.startswith((tmp_path / "laptop").as_uri())
    assert dsnn_hpo(*arguments).returncode == 0
    assert content(database) == first


@pytest.mark.timeout(600)
def test_a_sync_that_was_killed_goes_on(finished, tmp_path):
    whole, database = tmp_path / "whole.db", tmp_path / "killed.db"
    sync_run(finished.folder.path, f"sqlite:///{whole}")
    command = [sys.executable, "-m", "dsnn_hpo", "sync", str(finished.folder.path)]
    command += ["--tracking-uri", f"sqlite:///{database}"]
    for n_runs in (1, 3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline and n_runs_in(database) < n_runs:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    sync_run(finished.folder.path, f"sqlite:///{database}")
    killed, expected = content(database), content(whole)
    with closing(sqlite3.connect(database)) as connection:
        n_deleted = connection.execute("select count(*) from runs where lifecycle_stage = 'deleted'").fetchone()[0]
    assert killed["runs"] - n_deleted == expected["runs"]
    assert killed["logged_models"] == expected["logged_models"]


def n_runs_in(database):
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute("select count(*) from runs").fetchone()[0]
    except sqlite3.Error:
        return 0


def test_what_cannot_be_synced_is_told_without_passwords(finished, tmp_path):
    ended = dsnn_hpo("sync", tmp_path)
    assert (ended.returncode, "holds no run" in ended.stderr) == (2, True)
    uri = "http://user:secret@127.0.0.1:9"
    ended = dsnn_hpo("sync", finished.folder.path, "--tracking-uri", uri)
    assert ended.returncode == 1
    assert "http://user:***@127.0.0.1:9: Connection refused" in ended.stderr
    assert "secret" not in ended.stdout + ended.stderr


def test_the_store_of_a_run_whose_driver_works_is_left_to_it(finished, tmp_path):
    with finished.folder.lock():
        ended = dsnn_hpo("sync", finished.folder.path)
        assert ended.returncode == 2
        assert f"in use by another dsnn-hpo (process {os.getpid()})" in ended.stderr
        assert (
            dsnn_hpo("sync", finished.folder.path, "--tracking-uri", f"sqlite:///{tmp_path}/other.db").returncode == 0
        )


@pytest.mark.timeout(600)
def test_a_trial_is_registered(finished):
    folder = RunFolder(finished.folder.path)
    trial = read_run(folder.path).front()[0].trial.id
    assert (folder.model(trial) / "model.json").exists(), "the worker packs the network"
    ended = dsnn_hpo("register", folder.path, trial, "--name", "tiny digits", "--alias", "best", "--alias", "small")
    assert ended.returncode == 0, ended.stderr
    assert "load:    models:/tiny digits@best\n" in ended.stdout
    assert "tiny digits, version 1" in ended.stdout
    ended = dsnn_hpo("register", folder.path, 99, "--name", "tiny digits")
    assert (ended.returncode, "no finished trial 99" in ended.stderr) == (2, True)
    ended = dsnn_hpo("register", folder.path, trial, "--name", "tiny/digits")
    assert (ended.returncode, "--name 'tiny/digits'" in ended.stderr) == (2, True)


@pytest.mark.timeout(600)
def test_a_run_on_a_server_prints_where_it_is_to_be_seen(tmp_path):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    file = tmp_path / "tiny.yaml"
    file.write_text(EXPERIMENT + f"tracking: {{uri: '{address}'}}\n")
    with serving(Store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts"), port):
        ended = dsnn_hpo("run", file, "--out", tmp_path / "run")
        assert ended.returncode == 0, ended.stderr
        parent = MlflowClient(address).search_runs(["1"], "tags.`dsnn_hpo.run_id` LIKE '%'")[0].info.run_id
    lines = ended.stdout.splitlines()
    charts = f"{address}/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=dsnn-hpo-{parent}&compareRunsMode=CHART"
    assert lines[-2] == f"charts:  {charts}"
    assert lines[-1] == f"page:    {address}/#/experiments/1/runs/{parent}?workflowType=machine_learning"
