"""A run in another MLflow store, or once more in its own; and its models in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsnn_hpo import tracking
from dsnn_hpo.errors import RunFolderError
from dsnn_hpo.experiment._folder import RunFolder, read_run
from dsnn_hpo.experiment._mirror import ARTIFACTS, Links, content_of, links_of, store_of
from dsnn_hpo.experiment.config import config_of
from dsnn_hpo.journal import History
from dsnn_hpo.tracking import Progress, Registered, Registration, TrackingConfig


@dataclass(frozen=True, slots=True)
class Synced:
    """A run as it is in a store: the store's address (without a password), whether it is the run's own, the run's in it."""

    uri: str
    is_own: bool
    links: Links | None
    n_configurations: int


@dataclass(frozen=True, slots=True)
class RegisteredTrial:
    """A trial's version in a registry, and its address if that is a server."""

    registered: Registered
    link: str | None


def sync_run(
    path: str | Path,
    uri: str | None = None,
    experiment: str | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Synced:
    """Returns how a run is in an MLflow store, after writing what was missing of it there; nothing is there twice.

    Args:
        path: the run folder.
        uri: of the store; by default the run's own.
        experiment: the name of the MLflow experiment; by default the one that the run has.
        progress: is told how many configurations are written, and of how many.

    Raises:
        RunFolderError: there is no run; or its driver, which mirrors it itself, is at work, and the store is the run's own.
        InputError: there cannot be a store at the URI, or a packed model is damaged.
        TrackingError: the store refused or did not answer.
    """
    folder = RunFolder(Path(path))
    history = read_run(folder.path)
    settings, default_uri, artifacts = _store(folder, history, uri, experiment)
    with _alone(folder, may_run=uri is not None):
        content = content_of(folder, history.header)
        status = tracking.sync(history, settings, default_uri, artifacts, content, progress)
    where = settings.uri or default_uri
    links = links_of(where, status) if tracking.is_server(where) else None
    n_configurations = len({result.trial.key for result in history.results})
    return Synced(tracking.without_password(where), uri is None, links, n_configurations)


def register_trial(path: str | Path, registration: Registration, uri: str | None = None) -> RegisteredTrial:
    """Returns the version of a registered model that a trial's network is; made where it is not there, never twice.

    Args:
        path: the run folder.
        registration: the trial, and what it is to be called.
        uri: of the store; by default the run's own.

    Raises:
        RunFolderError, InputError, TrackingError: as ``sync_run``; also if there is no such trial or no packed model of it.
    """
    folder = RunFolder(Path(path))
    history = read_run(folder.path)
    target = tracking.target_of(*_store(folder, history, uri, None))
    with _alone(folder, may_run=uri is not None):
        registered = tracking.register(history, target, content_of(folder, history.header), registration)
    shown = tracking.without_password(target.uri)
    link = tracking.version_link(shown, registered.name, registered.version)
    return RegisteredTrial(registered, link if tracking.is_server(target.uri) else None)


def _store(
    folder: RunFolder, history: History, uri: str | None, experiment: str | None
) -> tuple[TrackingConfig, str, Path]:
    settings, default_uri, artifacts = store_of(config_of(history.header), folder, history.header)
    if uri is not None:
        # Files of another SQLite store lie beside it, as those of a run's own do.
        file = tracking.sqlite_path(uri)
        artifacts = artifacts if file is None else file.absolute().parent / ARTIFACTS
    chosen = {"uri": uri or settings.uri, "experiment": experiment or settings.experiment}
    return settings.model_copy(update=chosen), default_uri, artifacts


@contextmanager
def _alone(folder: RunFolder, may_run: bool) -> Iterator[None]:
    """Keeps a second writer away from a run's store; beside the run's driver only if that writes to another one."""
    try:
        lock = folder.lock()
    except RunFolderError as error:
        if not may_run:
            raise RunFolderError(f"{error}; its own driver mirrors it, or name another store: --tracking-uri") from None
        yield
        return
    with lock:
        yield
