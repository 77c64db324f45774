"""The mirror on a real PostgreSQL, behind a real MLflow server."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dsnn_hpo import tracking
from dsnn_hpo.tracking.mlflow import MlflowClient
from tests.report.synthetic import history, prefix
from tests.tracking.conftest import Store, free_port, serving

pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed (pip install psycopg2-binary)")


def _programs() -> Path:
    """Returns the folder of PostgreSQL's programs, which Debian keeps off the PATH."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders and found is None:
        pytest.skip("Debian's package postgresql is not installed")
    return folders[-1] if folders else Path(str(found)).parent


def _as_postgres(*command: object) -> None:
    words = list(map(str, command))
    if os.geteuid() == 0:
        # It refuses to run as root.
        words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *words]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The URI of a new database of a server of its own, on a socket in a folder of its own."""
    programs = _programs()
    # Not pytest's folder: a socket's path is short, and only its owner enters that.
    folder = Path(
        subprocess.run(["mktemp", "-d", "/tmp/pg.XXXXXX"], capture_output=True, text=True, check=True).stdout.strip()
    )
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    data, log = folder / "data", folder / "log"
    settings = f"-k {folder} -c listen_addresses= -c fsync=off"
    try:
        _as_postgres(programs / "initdb", "-D", data, "-U", user, "--auth=trust", "-E", "UTF8", "--no-sync")
        _as_postgres(programs / "pg_ctl", "-D", data, "-l", log, "-w", "-o", settings, "start")
        try:
            yield f"postgresql+psycopg2://{user}:secret@/postgres?host={folder}"
        finally:
            _as_postgres(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.mark.timeout(400)
def test_a_run_is_mirrored_and_synced_once(database, tmp_path):
    tracking.check_uri(database)
    assert "secret" not in tracking.without_password(database)
    direct = Store(database, tmp_path / "artifacts")
    run = history(27)
    # Makes the tables, too.
    direct.sync(prefix(run, 21))
    port = free_port()
    with serving(direct, port):
        remote = Store(f"http://127.0.0.1:{port}", tmp_path)
        status = remote.sync(run)
        assert remote.sync(run) == status
        client = MlflowClient(remote.uri)
        children = client.search_runs([status.experiment_id], f"tags.`mlflow.parentRunId` = '{status.run_id}'")
        assert sorted(c.data.tags["dsnn_hpo.key"] for c in children) == sorted({r.trial.key for r in run.results})
        front = {m.trial.key for m in run.front()}
        assert {c.data.tags["dsnn_hpo.key"] for c in children if c.data.tags["pareto_rank"] == "1"} == front
        assert len(client.get_metric_history(status.run_id, "n_trials")) == len(run.results)
        for key in front:
            child = next(c for c in children if c.data.tags["dsnn_hpo.key"] == key)
            n_results = sum(r.trial.key == key for r in run.results)
            assert len(client.get_metric_history(child.info.run_id, "error")) == n_results
