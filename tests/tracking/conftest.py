import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsnn_hpo import tracking
from dsnn_hpo.tracking import _mirror
from dsnn_hpo.tracking._session import Session, Target


def render(history):
    """A stand-in for the report: quick, and it shows which history it was made of."""
    told = len(history.results)
    return tracking.Rendered(
        html=f"<html>{told}</html>",
        png=b"\x89PNG" + str(told).encode(),
        markdown=lambda link: "\n".join(["**gist**", "", *(f"[{m.trial.id}]({link(m)})" for m in history.front())]),
        rows=[{"trial": m.trial.id, **m.values} for m in history.front()],
        hypervolume=[(i, 0.1 * i) for i in range(8, told + 1)],
    )


CONTENT = tracking.Content(render)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database with MLflow's tables: making them takes a second and a half."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    from dsnn_hpo.tracking.mlflow import Connection

    Connection(f"sqlite:///{path}", "unused", path.parent)
    return path


@dataclass
class Store:
    """A store of its own for a test."""

    uri: str
    artifact_root: Path

    def session(self, content=CONTENT) -> Session:
        return Session(Target(self.uri, None, self.artifact_root), content)

    def sync(self, history, content=CONTENT) -> tracking.MirrorStatus:
        return tracking.sync(history, tracking.TrackingConfig(), self.uri, self.artifact_root, content)

    def mirror(self, render=render) -> tracking.Mirror:
        content = tracking.Content(render)
        return tracking.open_mirror(tracking.TrackingConfig(), self.uri, self.artifact_root, content)


@pytest.fixture
def store(empty_database, tmp_path):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")


@pytest.fixture
def brisk(monkeypatch):
    """A mirror that does not pause between passes for longer than a moment."""
    monkeypatch.setattr(_mirror, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(_mirror, "_LONGEST_PAUSE_S", 0.2)


def wait_for(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def serving(store: Store, port: int):
    """A real MLflow server on a store, killed at the end."""
    command = tracking.ui_command(store.uri, store.artifact_root, port)
    process = subprocess.Popen(
        command,
        env=tracking.ui_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        tracking.wait_until_up(f"http://127.0.0.1:{port}", 60, process)
        yield
    finally:
        import os
        import signal

        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
