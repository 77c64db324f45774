"""The MLflow server for a run's store, on this machine only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

from dsnn_hpo.errors import InputError, TrackingError
from dsnn_hpo.tracking._address import check_uri, is_server, without_password

_POLL_S = 0.2


def ui_command(uri: str, artifact_root: Path | None, port: int) -> list[str]:
    """Returns the command that serves the store at ``http://127.0.0.1:PORT``; run it with ``ui_environment()``.

    Raises:
        InputError: the URI is a server already, or no store can be there.
    """
    check_uri(uri)
    if is_server(uri):
        raise InputError(f"{without_password(uri)} is a server already: open it in a browser")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    if artifact_root is not None:
        command += ["--default-artifact-root", artifact_root.absolute().as_uri()]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def ui_environment() -> dict[str, str]:
    """Returns this process's environment with MLflow's telemetry switched off."""
    return {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}


def wait_until_up(base_url: str, timeout_s: float, process: subprocess.Popen[bytes] | None = None) -> None:
    """Returns once the server answers.

    Raises:
        TrackingError: it does not within ``timeout_s`` seconds, or its process has ended.
    """
    # No proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout_s
    reason: object = "no answer"
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise TrackingError(f"the MLflow server ended with exit code {process.returncode}; is the port taken?")
        try:
            with opener.open(f"{base_url.rstrip('/')}/health", timeout=2):
                return
        except (URLError, OSError) as error:
            reason = error
        time.sleep(_POLL_S)
    raise TrackingError(f"the MLflow server at {base_url} is not up after {timeout_s:g} s: {reason}")
