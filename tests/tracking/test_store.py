import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dsnn_hpo.errors import TrackingError
from dsnn_hpo.tracking.mlflow import MlflowClient
from tests.report.synthetic import history, measured_again, prefix


def _client(store) -> MlflowClient:
    return MlflowClient(store.uri)


def _children(store, status):
    runs = _client(store).search_runs([status.experiment_id], f"tags.`mlflow.parentRunId` = '{status.run_id}'")
    return {run.data.tags["dsnn_hpo.key"]: run for run in runs}


def _content(store, with_membership=True) -> dict[str, list]:
    """Everything in the store, with runs named by what they stand for instead of by their ids."""
    with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as database:
        known = "select run_uuid, key, value from tags where key in ('dsnn_hpo.key', 'dsnn_hpo.run_id')"
        names = {run: value for run, _, value in database.execute(known)}
        runs = database.execute(
            "select run_uuid, name, status, start_time, end_time, lifecycle_stage from runs"
        ).fetchall()
        assert all(run[0] in names for run in runs)

        def table(query):
            return sorted((names[run], *rest) for run, *rest in database.execute(query))

        moving = ("mlflow.parentRunId", "mlflow.note.content")
        return {
            "runs": sorted((names[run], *rest) for run, *rest in runs if rest[-1] == "active"),
            "metrics": [
                row
                for row in table("select run_uuid, key, value, timestamp, step from metrics")
                if with_membership or row[1] != "is_pareto"
            ],
            "latest": table("select run_uuid, key, value from latest_metrics"),
            "params": table("select run_uuid, key, value from params"),
            "tags": [row for row in table("select run_uuid, key, value from tags") if row[1] not in moving],
        }


def test_parent_and_children(store):
    run = history(27)
    status = store.sync(run)
    parent = _client(store).get_run(status.run_id)
    assert parent.info.run_name == "digits"
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["n_trials"] == len(run.results)
    assert parent.data.metrics["n_failed"] == sum(1 for r in run.results if not r.values)
    assert parent.data.metrics["energy_j"] == pytest.approx(sum(r.energy_j for r in run.results))
    assert parent.data.params["task.dataset"] == "digits"
    children = _children(store, status)
    assert children.keys() == {r.trial.key for r in run.results}
    front = {m.trial.key for m in run.front()}
    for key, child in children.items():
        config = next(r.trial.config for r in run.results if r.trial.key == key)
        assert child.data.params == {name: str(value) for name, value in config.items()}
        assert child.data.metrics["is_pareto"] == float(key in front)
        assert child.data.tags["pareto"] == ("true" if key in front else "false")
    member = run.front()[0]
    assert children[member.trial.key].data.metrics["final_error"] == member.values["error"]
    failed = next(r for r in run.results if not r.values)
    assert children[failed.trial.key].info.status == "FAILED"
    assert children[failed.trial.key].data.tags["error"] == failed.error


def test_artifacts_description_and_hypervolume(store):
    run = history(27)
    status = store.sync(run)
    client = _client(store)
    parent = client.get_run(status.run_id)
    folder = Path(parent.info.artifact_uri.removeprefix("file://"))
    assert folder.is_relative_to(store.artifact_root)
    assert (folder / "experiment.yaml").read_text() == run.header.experiment_text
    assert (folder / "pareto_front.html").read_text() == f"<html>{len(run.results)}</html>"
    assert (folder / "pareto_front.png").read_bytes().startswith(b"\x89PNG")
    table = json.loads((folder / "pareto_front.json").read_text())
    assert table["columns"] == ["trial", "error", "inference_energy_j"]
    assert [row[0] for row in table["data"]] == [m.trial.id for m in run.front()]
    note = parent.data.tags["mlflow.note.content"]
    children = _children(store, status)
    for member in run.front():
        assert (
            f"[{member.trial.id}](#/experiments/{status.experiment_id}/runs/{children[member.trial.key].info.run_id}?"
            in note
        )
    assert f"get-artifact?path=pareto_front.png&run_uuid={status.run_id}" in note
    series = client.get_metric_history(status.run_id, "hypervolume")
    assert [m.step for m in series] == list(range(8, len(run.results) + 1))
    view = client.get_experiment(status.experiment_id).tags[f"mlflow.sharedViewState.dsnn-hpo-{status.run_id}"]
    assert len(view) < 5000


@pytest.mark.parametrize("run", [history(27), measured_again(history(27))], ids=["searched", "measured again"])
def test_twice_gives_nothing_twice(store, run):
    store.sync(run)
    before = _content(store)
    store.sync(run)
    assert _content(store) == before


@pytest.mark.parametrize("run", [history(27), measured_again(history(27))], ids=["searched", "measured again"])
def test_bit_by_bit_gives_the_same_as_at_once(store, tmp_path, empty_database, run):
    session = store.session()
    for n in range(1, len(run.events), 4):
        session.sync(prefix(run, n), final=False)
    session.sync(run, final=True)
    bit_by_bit = _content(store, with_membership=False)
    Path(store.uri.removeprefix("sqlite:///")).write_bytes(empty_database.read_bytes())
    store.sync(run)
    assert _content(store, with_membership=False) == bit_by_bit


def test_a_front_that_is_measured_again_is_shown_anew(store):
    search = history(27)
    run = measured_again(search)
    # The same session, as in a run: nothing is told any more, and the front moves.
    session = store.session()
    session.sync(prefix(run, len(search.events) - 1), final=True)
    session.sync(run, final=True)
    client = _client(store)
    parent = client.get_run(session.run_id)
    folder = Path(parent.info.artifact_uri.removeprefix("file://"))
    table = json.loads((folder / "pareto_front.json").read_text())
    ids = [member.trial.id for member in run.front()]
    assert [row[0] for row in table["data"]] == ids
    assert ids != [member.trial.id for member in search.front()]
    runs = client.search_runs([session.experiment_id], f"tags.`mlflow.parentRunId` = '{session.run_id}'")
    children = {child.data.tags["dsnn_hpo.key"]: child.data for child in runs}
    front = {member.trial.key for member in run.front()}
    assert {key for key, data in children.items() if data.metrics["is_pareto"]} == front
    assert {key for key, data in children.items() if data.tags["pareto"] == "true"} == front
    for member in search.front():
        again, metrics = run.measured[member.trial.id], children[member.trial.key].metrics
        assert metrics["final_inference_energy_j"] == again.values["inference_energy_j"]
        assert metrics["inference_energy_j_ci95"] == again.provenance["inference_energy_j"].ci95


class _Breaking:
    """Makes a method of the client fail a few times, before or after it has done its work."""

    def __init__(self, patch, method: str, arrives: bool) -> None:
        real = getattr(MlflowClient, method)
        self.n_calls = 0

        def breaks(client, *args, **kwargs):
            self.n_calls += 1
            broken = self.n_calls % 3 == 1 and self.n_calls < 10
            done = real(client, *args, **kwargs) if arrives or not broken else None
            if broken:
                raise OSError("the line is dead\nsecond line")
            return done

        patch.setattr(MlflowClient, method, breaks)


@pytest.mark.parametrize("method", ["log_batch", "create_run", "set_terminated", "search_runs", "log_artifacts"])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_call_that_breaks_midway_is_made_good(store, tmp_path, empty_database, monkeypatch, method, arrives):
    run = history(18)
    broken = type(store)(f"sqlite:///{tmp_path}/broken.db", store.artifact_root)
    (tmp_path / "broken.db").write_bytes(empty_database.read_bytes())
    session = broken.session()
    session.sync(prefix(run, 9), final=True)
    reasons = []
    with monkeypatch.context() as patch:
        _Breaking(patch, method, arrives)
        for attempt in range(7):
            # A fresh session now and then: the driver died, too.
            session = broken.session() if attempt % 2 else session
            try:
                session.sync(run, final=True)
            except TrackingError as error:
                reasons.append(str(error))
    assert reasons
    files = "it refuses files: " if method == "log_artifacts" else ""
    assert all(reason.endswith(f"broken.db: {files}the line is dead") for reason in reasons)
    broken.sync(run)
    store.sync(run)
    content, expected = _content(broken, with_membership=False), _content(store, with_membership=False)
    for table in expected:
        assert content[table] == expected[table], table


def test_long_curves_are_written_in_batches(store):
    from dataclasses import replace

    from dsnn_hpo.journal import History, Told
    from dsnn_hpo.trial import Epoch

    run = history(9)
    curve = tuple(Epoch(n, 1.0 / n, 0.5, 0.01, 0.1) for n in range(1, 701))
    events = tuple(Told(replace(e.result, curve=curve), e.time) if isinstance(e, Told) else e for e in run.events)
    status = store.sync(History(run.header, events))
    child = _children(store, status)[run.results[0].trial.key]
    assert len(_client(store).get_metric_history(child.info.run_id, "train_loss")) == 700


def test_two_journals_of_one_experiment_stay_apart(store):
    from dataclasses import replace

    from dsnn_hpo.journal import History

    first = history(9)
    second = History(replace(first.header, run_id="fedcba"), first.events)
    one, two = store.sync(first), store.sync(second)
    assert one.experiment_id == two.experiment_id
    assert one.run_id != two.run_id
    assert len(_children(store, one)) == len(_children(store, two)) == 9


def test_a_deleted_experiment_is_an_error_that_says_so(store):
    status = store.sync(history(9))
    _client(store).delete_experiment(status.experiment_id)
    with pytest.raises(TrackingError, match="was deleted; restore it"):
        store.sync(history(9))


def test_steady_state_takes_few_calls(store, monkeypatch):
    run = history(45)
    session = store.session()
    session.sync(prefix(run, 11), final=True)
    calls = []
    for name in ("log_batch", "create_run", "set_terminated", "update_run", "search_runs", "log_artifacts", "set_tag"):
        real = getattr(MlflowClient, name)
        monkeypatch.setattr(
            MlflowClient, name, lambda *a, _real=real, _name=name, **k: (calls.append(_name), _real(*a, **k))[1]
        )
    n_told = 0
    for n in range(13, len(run.events), 2):
        session.sync(prefix(run, n), final=False)
        n_told += 1
    assert n_told > 30
    assert "search_runs" not in calls
    assert "log_artifacts" not in calls, "figures are refreshed every 15 s at most"
    assert len(calls) / n_told < 6


def test_importing_the_package_does_not_import_mlflow():
    code = "import sys, dsnn_hpo.tracking; print([m for m in ('mlflow', 'torch', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
