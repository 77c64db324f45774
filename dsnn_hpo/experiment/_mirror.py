"""A run's mirror in MLflow: where its store is, what is shown in it, and serving it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dsnn_hpo import report, tracking
from dsnn_hpo.errors import InputError, RunFolderError, TrackingError
from dsnn_hpo.experiment._folder import DEFAULT_ROOT, RunFolder, read_run
from dsnn_hpo.experiment.config import ExperimentConfig, config_of
from dsnn_hpo.journal import Header, History
from dsnn_hpo.tracking import Content, Mirror, MirrorStatus, Packed, Rendered, TrackingConfig
from dsnn_hpo.trial import Result

START_TIMEOUT_S = 120.0
# MLflow shows the picture unscaled, in a column of this width.
PICTURE_WIDTH_PX = 990
ARTIFACTS = "mlflow-artifacts"
MAX_LOG_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Links:
    """Where a run is to be seen in MLflow: its charts (all configurations), and its own page (front, report, files)."""

    charts: str
    page: str


def open_run_mirror(config: ExperimentConfig, folder: RunFolder, header: Header) -> Mirror:
    """Returns a mirror of the run in ``folder``; raises InputError if there cannot be a store at its URI."""
    return tracking.open_mirror(*store_of(config, folder, header), content_of(folder, header))


def default_store(folder: RunFolder) -> str:
    """Returns where a new run's SQLite file is to lie, relative to its folder.

    ``runs/mlflow.db`` for all runs below ``runs/``; a run elsewhere has one in its own folder.
    """
    path, root = folder.path.resolve(), DEFAULT_ROOT.resolve()
    home = root if root in path.parents else path
    return os.path.relpath(home / "mlflow.db", path)


def store_of(config: ExperimentConfig, folder: RunFolder, header: Header) -> tuple[TrackingConfig, str, Path]:
    """Returns where a run is mirrored: the settings, its default store, and the folder of its artifacts."""
    # Relative to the run folder, so that neither another working directory nor a move of all of runs/ loses it.
    store = (folder.path / header.store).resolve()
    settings = config.tracking.model_copy(update={"uri": config.tracking_uri})
    return settings, f"sqlite:///{store}", store.parent / ARTIFACTS


def serve_ui(run_dir: Path | None, port: int, announce: Callable[[Links], None]) -> None:
    """Serves MLflow on a run's store at 127.0.0.1 until interrupted; announces the run's address when it is up.

    Args:
        run_dir: the run; by default the newest below ``runs/``.
        port: the port to listen on.
        announce: is given the run's addresses.

    Raises:
        RunFolderError: there is no such run.
        TrackingError: the store cannot be written, or the server does not start.
    """
    folder = RunFolder(run_dir or _newest_run())
    history = read_run(folder.path)
    config = config_of(history.header)
    settings, default_uri, artifacts = store_of(config, folder, history.header)
    uri = settings.uri or default_uri
    if tracking.is_server(uri):
        announce(links_of(uri, _brought_up_to_date(config, folder, history)))
        return
    _check_port_is_free(port)
    status = _brought_up_to_date(config, folder, history)
    base_url = f"http://127.0.0.1:{port}"
    command = tracking.ui_command(uri, artifacts, port)
    with (
        _ended_by_signals(),
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, env=tracking.ui_environment(), stdout=subprocess.DEVNULL, stderr=log) as server,
    ):
        try:
            tracking.wait_until_up(base_url, START_TIMEOUT_S, server)
            announce(links_of(base_url, status))
            if server.wait() != 0:
                raise TrackingError(f"the MLflow server ended with exit code {server.returncode}")
        except TrackingError as error:
            # Otherwise nobody wants to read what the server says.
            log.seek(0)
            raise TrackingError(f"{error}\n{log.read().decode(errors='replace')[-MAX_LOG_CHARACTERS:]}") from error
        except KeyboardInterrupt:
            pass
        finally:
            server.terminate()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Makes SIGTERM end the block as Ctrl-C does: the server must not outlive this process."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_port_is_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another: --port N"
            ) from None


def _brought_up_to_date(config: ExperimentConfig, folder: RunFolder, history: History) -> MirrorStatus | None:
    """Returns where the run lies in the store, or None while its own driver is writing to it."""
    try:
        with folder.lock():
            return tracking.sync(history, *store_of(config, folder, history.header), content_of(folder, history.header))
    except RunFolderError:
        return None


def links_of(base_url: str, status: MirrorStatus | None) -> Links:
    """Returns a run's addresses on a server; both are the server's while the run is not known there."""
    shown = tracking.without_password(base_url)
    if status is None or status.experiment_id is None or status.run_id is None:
        return Links(shown, shown)
    ids = (status.experiment_id, status.run_id)
    return Links(tracking.view_link(shown, *ids), tracking.run_link(shown, *ids))


def links_on_server(config: ExperimentConfig, status: MirrorStatus) -> Links | None:
    """Returns a run's addresses on the server that it is mirrored to; None where nobody serves its store yet."""
    uri = config.tracking_uri
    return links_of(uri, status) if uri is not None and tracking.is_server(uri) else None


def content_of(folder: RunFolder, header: Header) -> Content:
    """Returns how what MLflow shows of a run is made."""
    return Content(front=draw_front, page=report.report_html, packed=partial(_packed, folder, header))


def _packed(folder: RunFolder, header: Header, result: Result) -> Packed | None:
    path = folder.model(result.trial.id)
    if not path.is_dir():
        return None
    # Imported here: it loads torch, which who only looks does not need. Loading checks the checksums, too.
    from dsnn_hpo.deploy import load_model

    model = load_model(path)
    return Packed(path, model.input_shape, model.facts.dataset, header.data_digest)


def draw_front(history: History) -> Rendered:
    """Returns what MLflow shows of a run's front."""
    return Rendered(
        html=report.front_html(history),
        png=report.front_png(history, width_px=PICTURE_WIDTH_PX),
        markdown=lambda link: report.front_markdown(history, link),
        rows=report.front_rows(history),
        hypervolume=report.hypervolume_series(history),
    )


def _newest_run() -> Path:
    journals = sorted(DEFAULT_ROOT.glob("*/*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
    if not journals:
        raise InputError(f"there is no run below {DEFAULT_ROOT}/; name a run folder: dsnn-hpo ui RUN_DIR")
    return journals[-1].parent
