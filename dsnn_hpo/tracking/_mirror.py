"""The mirror: a thread that keeps MLflow up to date with the newest history, and never holds up or breaks a run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsnn_hpo.errors import ModelFolderError, TrackingError
from dsnn_hpo.journal import History
from dsnn_hpo.tracking._address import check_uri, without_password
from dsnn_hpo.tracking._config import TrackingConfig
from dsnn_hpo.tracking._rendered import Content
from dsnn_hpo.tracking._session import Progress, Session, Target

_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 30.0
_ANSWER_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """How far MLflow is; ``reason`` says why it is behind. The ids are MLflow's, None before the first contact."""

    caught_up: bool
    reason: str
    experiment_id: str | None
    run_id: str | None


class Mirror:
    """Keeps a copy of a journal in MLflow from a thread of its own; made by ``open_mirror``."""

    def __init__(self, target: Target, content: Content) -> None:
        self._uri = without_password(target.uri)
        self._session = Session(target, content)
        self._changed = threading.Condition()
        self._newest: History | None = None
        self._synced: History | None = None
        self._closing = False
        self._reason = ""
        # Set by the driver's own thread, once: another thread must not change the environment under its feet.
        self._environment = ExitStack()
        self._environment.enter_context(impatient_mlflow())
        # A daemon: a server that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def update(self, history: History) -> None:
        """Takes the newest history and returns at once; histories that come faster than MLflow takes them are skipped."""
        with self._changed:
            self._newest = history
            self._changed.notify()

    @property
    def status(self) -> MirrorStatus:
        """Returns how far MLflow is now."""
        with self._changed:
            caught_up = self._newest is self._synced and not self._reason
            return MirrorStatus(caught_up, self._reason, self._session.experiment_id, self._session.run_id)

    def close(self, timeout_s: float) -> MirrorStatus:
        """Returns how far MLflow is after one last attempt, ``timeout_s`` seconds from now at the latest."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        self._environment.close()
        if self._thread.is_alive():
            with self._changed:
                self._reason = self._reason or f"MLflow at {self._uri} did not answer within {timeout_s:g} s"
        return self.status

    def _work(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._changed:
                # Without news it wakes to draw the front that the last pass left for later.
                due_s = self._session.refresh_due_s()
                self._changed.wait_for(lambda: self._closing or self._newest is not self._synced, timeout=due_s)
                history, final = self._newest, self._closing
            if history is not None:
                self._attempt(history, final)
            if final:
                return
            # Without a pause each of many short trials would cost a pass; one pass over several costs half as much.
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S) if self._reason else _FIRST_PAUSE_S
            with self._changed:
                self._changed.wait_for(lambda: self._closing, timeout=pause_s)

    def _attempt(self, history: History, final: bool) -> None:
        reason = ""
        try:
            self._session.sync(history, final)
        except (TrackingError, ModelFolderError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a fault of the mirror must not end a run; it is told at its end
            reason = f"the mirror failed: {type(error).__name__}: {error}"
        with self._changed:
            self._reason = reason
            if not reason:
                self._synced = history


def open_mirror(config: TrackingConfig, default_uri: str, artifact_root: Path | None, content: Content) -> Mirror:
    """Returns a mirror at ``config.uri`` or else at ``default_uri``; MLflow itself is loaded in the background.

    Args:
        config: the section of the experiment file.
        default_uri: where to, if the file does not say.
        artifact_root: folder of the files of a new experiment in a database; a server decides for itself.
        content: makes what is shown.

    Raises:
        InputError: there cannot be a store at the URI.
    """
    return Mirror(target_of(config, default_uri, artifact_root), content)


def sync(
    history: History,
    config: TrackingConfig,
    default_uri: str,
    artifact_root: Path | None,
    content: Content,
    progress: Progress = lambda _done, _of: None,
) -> MirrorStatus:
    """Returns the status after one pass, made here and now.

    Args:
        history: of the run; the next four arguments are those of ``open_mirror``.
        config: the section of the experiment file.
        default_uri: where to, if the file does not say.
        artifact_root: folder of the files of a new experiment in a database.
        content: makes what is shown.
        progress: is told how many child runs are written, and of how many.

    Raises:
        InputError: there cannot be a store at the URI, or a packed model is damaged.
        TrackingError: the store refused or did not answer; ArtifactError if it refused no more than files.
    """
    session = Session(target_of(config, default_uri, artifact_root), content)
    with impatient_mlflow():
        session.sync(history, final=True, progress=progress)
    return MirrorStatus(True, "", session.experiment_id, session.run_id)


def target_of(config: TrackingConfig, default_uri: str, artifact_root: Path | None) -> Target:
    """Returns where a mirror writes; raises InputError if there cannot be a store at the URI."""
    uri = config.uri or default_uri
    check_uri(uri)
    return Target(uri, config.experiment, artifact_root)


@contextmanager
def impatient_mlflow(**others: str) -> Iterator[None]:
    """Returns a context in which MLflow asks once and gives up soon: the mirror tries again by itself.

    ``others`` are further variables of its environment. A request that MLflow repeats after its answer was lost would create a run twice. Who has set a timeout keeps it.
    """
    timeout = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_ANSWER_TIMEOUT_S))
    ours = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        # Into the run's own progress, a line a run; each costs two requests.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": timeout,
        **others,
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
