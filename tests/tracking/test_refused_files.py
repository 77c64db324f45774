"""A store that takes metrics, but no files: nothing but the files is missing, and they come later, once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dsnn_hpo import tracking
from dsnn_hpo.errors import ArtifactError
from dsnn_hpo.tracking import Content, Packed
from dsnn_hpo.tracking.mlflow import MlflowClient
from tests.chaos.surroundings import Disk
from tests.report.synthetic import history
from tests.tracking.conftest import Store, free_port, render, wait_for


def check_metrics(client, run):
    """Returns the parent run, after checking that everything but files is there."""
    experiment = client.get_experiment_by_name(run.header.name)
    [parent] = client.search_runs([experiment.experiment_id], "tags.`dsnn_hpo.run_id` != ''")
    children = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert sorted(c.data.tags["dsnn_hpo.key"] for c in children) == sorted({r.trial.key for r in run.results})
    front = {m.trial.key for m in run.front()}
    assert {c.data.tags["dsnn_hpo.key"] for c in children if c.data.tags["pareto"] == "true"} == front
    assert parent.data.metrics["n_trials"] == len(run.results)
    assert parent.data.metrics["hypervolume"] > 0
    assert "gist" in parent.data.tags["mlflow.note.content"]
    return parent


def check_all(client, run, n_models):
    parent = check_metrics(client, run)
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"experiment.yaml", "pareto_front.html", "pareto_front.json", "pareto_front.png"}
    models = client.search_logged_models([parent.info.experiment_id])
    assert [model.status for model in models] == ["READY"] * n_models
    assert len({model.tags["dsnn_hpo.trial"] for model in models}) == n_models
    assert len(client.get_metric_history(parent.info.run_id, "n_trials")) == len(run.results)
    assert len(client.get_metric_history(parent.info.run_id, "hypervolume")) == len(run.results) - 7


@pytest.fixture
def content(tmp_path):
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "model.json").write_text("{}")
    return Content(render, packed=lambda _: Packed(tmp_path / "packed", (1, 8, 8), "digits", "d" * 64))


def test_a_folder_that_cannot_be_written(store, brisk, content):
    run = history(27)
    # Not a matter of permissions: root may write anywhere.
    store.artifact_root.write_text("a file, where a folder should be")
    mirror = tracking.open_mirror(tracking.TrackingConfig(), store.uri, store.artifact_root, content)
    mirror.update(run)
    wait_for(lambda: mirror.status.reason)
    status = mirror.close(60)
    assert not status.caught_up
    assert status.reason.count("\n") == 0
    assert ": it refuses files: " in status.reason
    client = MlflowClient(store.uri)
    check_metrics(client, run)
    store.artifact_root.unlink()
    store.sync(run, content)
    store.sync(run, content)
    check_all(client, run, len(run.front()))


def test_a_full_disk(store, tmp_path, content):
    run = history(27)
    with Disk.made(tmp_path / "disk") as disk:
        if not disk.is_own:
            pytest.skip("no disk of its own can be had here (root)")
        own = Store(store.uri, disk.folder / "artifacts")
        with disk.full(), pytest.raises(ArtifactError, match="No space left on device"):
            own.sync(run, content)
        client = MlflowClient(store.uri)
        check_metrics(client, run)
        own.sync(run, content)
        check_all(client, run, len(run.front()))


@pytest.mark.timeout(300)
def test_a_server_whose_artifacts_fail(store, tmp_path, content):
    run = history(9)
    destination = tmp_path / "served"
    destination.write_text("a file, where a folder should be")
    port = free_port()
    command = tracking.ui_command(store.uri, None, port)
    command += ["--artifacts-destination", str(destination)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            command, env=tracking.ui_environment(), stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    remote = Store(f"http://127.0.0.1:{port}", Path(tmp_path))
    try:
        tracking.wait_until_up(remote.uri, 120, server)
        with pytest.raises(ArtifactError, match="it refuses files: ") as caught:
            remote.sync(run, content)
        assert len(str(caught.value).splitlines()) == 1
        client = MlflowClient(remote.uri)
        check_metrics(client, run)
        destination.unlink()
        remote.sync(run, content)
        check_all(client, run, len(run.front()))
    finally:
        import os
        import signal

        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
