"""A run's mirror in MLflow: where its store is, what is shown in it, and serving it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from dsnn_hpo import report, tracking
from dsnn_hpo.errors import InputError, RunFolderError
from dsnn_hpo.experiment._folder import DEFAULT_ROOT, RunFolder, read_run
from dsnn_hpo.experiment.config import ExperimentConfig, config_of
from dsnn_hpo.journal import History
from dsnn_hpo.tracking import Mirror, MirrorStatus, Rendered

START_TIMEOUT_S = 120.0
# MLflow shows the picture unscaled, in a column of this width.
PICTURE_WIDTH_PX = 990


def open_run_mirror(config: ExperimentConfig, folder: RunFolder) -> Mirror:
    """Returns a mirror of the run in ``folder``; raises InputError if there cannot be a store at its URI."""
    return tracking.open_mirror(config.tracking, default_uri(folder), _artifact_root(folder), _render)


def default_uri(folder: RunFolder) -> str:
    """Returns the SQLite store of a run: ``runs/mlflow.db`` for all below ``runs/``, else one in its own folder."""
    return f"sqlite:///{_home(folder) / 'mlflow.db'}"


def serve_ui(run_dir: Path | None, port: int, announce: Callable[[str], None]) -> None:
    """Serves MLflow on a run's store at 127.0.0.1 until interrupted; announces the run's address when it is up.

    Args:
        run_dir: the run; by default the newest below ``runs/``.
        port: the port to listen on.
        announce: is given the address.

    Raises:
        RunFolderError: there is no such run.
        TrackingError: the store cannot be written, or the server does not start.
    """
    folder = RunFolder(run_dir or _newest_run())
    history = read_run(folder.path)
    config = config_of(history.header)
    uri = config.tracking.uri or default_uri(folder)
    status = _brought_up_to_date(config, folder, history)
    if uri.startswith(("http://", "https://")):
        announce(_address(uri, status))
        return
    base_url = f"http://127.0.0.1:{port}"
    command = tracking.ui_command(uri, _artifact_root(folder), port)
    with subprocess.Popen(command, env=tracking.ui_environment(), stdout=subprocess.DEVNULL) as server:
        try:
            tracking.wait_until_up(base_url, START_TIMEOUT_S, server)
            announce(_address(base_url, status))
            server.wait()
        except KeyboardInterrupt:
            pass
        finally:
            server.terminate()


def _brought_up_to_date(config: ExperimentConfig, folder: RunFolder, history: History) -> MirrorStatus | None:
    """Returns where the run lies in the store, or None while its own driver is writing to it."""
    try:
        with folder.lock():
            return tracking.sync(history, config.tracking, default_uri(folder), _artifact_root(folder), _render)
    except RunFolderError:
        return None


def _address(base_url: str, status: MirrorStatus | None) -> str:
    if status is None or status.experiment_id is None or status.run_id is None:
        return base_url
    return tracking.run_link(base_url, status.experiment_id, status.run_id)


def _render(history: History) -> Rendered:
    return Rendered(
        html=report.front_html(history),
        png=report.front_png(history, width_px=PICTURE_WIDTH_PX),
        markdown=lambda link: report.front_markdown(history, link),
        rows=report.front_rows(history),
        hypervolume=report.hypervolume_series(history),
    )


def _home(folder: RunFolder) -> Path:
    resolved, root = folder.path.resolve(), DEFAULT_ROOT.resolve()
    # A relocated or explicitly named run keeps its store to itself.
    return root if root in resolved.parents else resolved


def _artifact_root(folder: RunFolder) -> Path:
    return _home(folder) / "mlflow-artifacts"


def _newest_run() -> Path:
    journals = sorted(DEFAULT_ROOT.glob("*/*/journal.jsonl"), key=lambda path: path.stat().st_mtime)
    if not journals:
        raise InputError(f"there is no run below {DEFAULT_ROOT}/; name a run folder: dsnn-hpo ui RUN_DIR")
    return journals[-1].parent
