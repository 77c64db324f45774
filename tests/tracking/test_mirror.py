import os
import socket
import threading
import time

import pytest

from dsnn_hpo import report, tracking
from dsnn_hpo.tracking.mlflow import MlflowClient
from tests.report.synthetic import history, prefix
from tests.tracking.conftest import Store, free_port, render, serving, wait_for


def _server_store(tmp_path, port):
    return Store(f"http://127.0.0.1:{port}", tmp_path)


def test_catches_up_and_skips_what_is_old(store, brisk):
    run = history(27)
    mirror = store.mirror()
    for n in range(1, len(run.events) + 1):
        mirror.update(prefix(run, n))
    mirror.update(run)
    status = mirror.close(60)
    assert status.caught_up, status.reason
    assert MlflowClient(store.uri).get_run(status.run_id).data.metrics["n_trials"] == len(run.results)
    assert status == store.sync(run)


def test_update_returns_while_the_store_is_busy(store, brisk):
    entered, updated = threading.Event(), threading.Event()
    in_time = []

    def slow(history):
        entered.set()
        in_time.append(updated.wait(30))
        return render(history)

    run = history(9)
    mirror = store.mirror(slow)
    mirror.update(prefix(run, 3))
    assert entered.wait(30)
    for _ in range(100):
        mirror.update(run)
    updated.set()
    assert mirror.close(30).caught_up
    assert all(in_time)


@pytest.fixture
def hanging():
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def test_a_server_that_hangs_holds_nothing_up(hanging, tmp_path, brisk, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    mirror = _server_store(tmp_path, hanging).mirror()
    started = time.monotonic()
    mirror.update(history(9))
    time.sleep(0.2)
    status = mirror.close(0.5)
    assert time.monotonic() - started < 30
    assert not status.caught_up
    assert f"http://127.0.0.1:{hanging}" in status.reason


def test_a_server_that_is_away_is_told_at_the_end(tmp_path, brisk):
    before = dict(os.environ)
    mirror = _server_store(tmp_path, free_port()).mirror()
    mirror.update(history(9))
    wait_for(lambda: mirror.status.reason)
    status = mirror.close(20)
    assert not status.caught_up
    assert status.reason.endswith(": Connection refused")
    assert status.run_id is None
    changed = {name for name in before.keys() | os.environ.keys() if before.get(name) != os.environ.get(name)}
    assert changed <= {"MLFLOW_DISABLE_TELEMETRY"}


def test_a_fault_in_drawing_is_told_and_costs_no_data(store, brisk):
    def broken(history):
        raise ZeroDivisionError("no figure today")

    run = history(9)
    mirror = store.mirror(broken)
    mirror.update(run)
    status = mirror.close(30)
    assert not status.caught_up
    assert status.reason == "the mirror failed: ZeroDivisionError: no figure today"
    assert MlflowClient(store.uri).get_run(status.run_id).data.metrics["n_trials"] == len(run.results)


def test_the_front_is_drawn_later_though_nothing_else_happens(store, brisk, monkeypatch):
    from dsnn_hpo.tracking import _session

    monkeypatch.setattr(_session, "_REFRESH_S", 0.5)
    monkeypatch.setattr(_session, "_REFRESH_SHARE", 1.0)
    drawn = []

    def counting(history):
        drawn.append(len(history.results))
        return render(history)

    run = history(9)
    mirror = store.mirror(counting)
    mirror.update(prefix(run, 3))
    wait_for(lambda: mirror.status.caught_up)
    mirror.update(prefix(run, 5))
    mirror.update(prefix(run, 7))
    wait_for(lambda: drawn[-1] == 3)
    assert drawn[0] == 1
    assert mirror.close(30).caught_up
    assert drawn[-1] == 3, "what is up to date is not drawn again"


def test_closing_without_a_history(store):
    assert store.mirror().close(10).caught_up


def test_real_server_lost_on_the_way_and_found_again(store, brisk, tmp_path):
    run = history(27)
    port = free_port()
    remote = _server_store(tmp_path, port)

    def real_render(history):
        return tracking.Rendered(
            html=report.front_html(history),
            png=report.front_png(history, width_px=990),
            markdown=lambda link: report.front_markdown(history, link),
            rows=report.front_rows(history),
            hypervolume=report.hypervolume_series(history),
        )

    with serving(store, port):
        mirror = remote.mirror(real_render)
        mirror.update(prefix(run, 21))
        wait_for(lambda: mirror.status.caught_up)
        mirror.update(prefix(run, 30))
    mirror.update(prefix(run, 40))
    wait_for(lambda: mirror.status.reason)
    assert not mirror.status.caught_up
    mirror.update(run)
    with serving(store, port):
        status = mirror.close(60)
        assert status.caught_up, status.reason
        client = MlflowClient(remote.uri)
        children = client.search_runs([status.experiment_id], f"tags.`mlflow.parentRunId` = '{status.run_id}'")
        keys = [child.data.tags["dsnn_hpo.key"] for child in children]
        assert sorted(keys) == sorted({r.trial.key for r in run.results})
        parent = client.get_run(status.run_id)
        assert parent.data.metrics["hypervolume"] == report.hypervolume_series(run)[-1][1]
        assert {f.path: f.file_size for f in client.list_artifacts(status.run_id)}["pareto_front.html"] > 4_000_000
        assert "| trial\u00a0\u00a0\u00a0 | error" in parent.data.tags["mlflow.note.content"]
        assert remote.sync(run) == status
        assert len(client.get_metric_history(status.run_id, "n_trials")) == len(run.results)
