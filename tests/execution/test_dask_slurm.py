"""Dask's workers as jobs of a real SLURM cluster."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time

import distributed
import psutil
import pytest
import yaml

from dsnn_hpo.errors import DsnnHpoError, DsnnHpoWarning, ExperimentError, WorkerLostError
from dsnn_hpo.execution import DaskConfig, Job
from dsnn_hpo.execution._config import ClusterConfig
from dsnn_hpo.execution.dask import DaskExecutor, _tend
from dsnn_hpo.execution.dask._cluster import open_cluster
from dsnn_hpo.experiment import ExperimentConfig, start
from dsnn_hpo.journal import Asked, Lost
from tests.execution import jobs
from tests.execution.dask_scheduler import ROOT
from tests.execution.test_dask import ends, parent_and_sleep, pids_in
from tests.experiment.conftest import EXPERIMENT

PATIENCE_S = 120

# Dask times the collector of garbage, and trips over a collection during which it began to (distributed/gc.py).
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <bound method GCDiagnosis\._gc_callback:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def on_slurm(slurm_cluster, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # A worker that does not come back within this time is replaced; by default 15 s.
    with distributed.dask.config.set({"distributed.deploy.lost-worker-timeout": "2s"}):
        yield
    wait_until(lambda: not slurm_cluster.jobs())


@pytest.fixture
def make(tmp_path):
    """Returns a function that returns one that submits numbered jobs."""
    made = []

    def submitter(workers=1, **options):
        cluster = {"type": "slurm", "interface": "lo", "memory": "700MB", "local_directory": str(tmp_path), **options}
        executor = DaskExecutor(DaskConfig(kind="dask", workers=workers, cluster=cluster), tmp_path)
        made.append(executor)
        numbers = iter(range(1000))

        def submit(function, argument=None):
            number = next(numbers)
            return executor.submit(Job(f"{number:05d}-1", function, argument, tmp_path / "logs" / f"{number:05d}.log"))

        return submit

    yield submitter
    for executor in made:
        executor.close()


def wait_until(condition, timeout_s=PATIENCE_S):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.1)


def listeners():
    """Returns the addresses on which Dask's processes listen: this one and the workers."""
    python = [p for p in psutil.process_iter(["cmdline"]) if "distributed.cli.dask_worker" in (p.info["cmdline"] or ())]
    family = [psutil.Process(), *python, *(child for p in python for child in p.children(recursive=True))]
    connections = [c for p in family for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return [c.laddr.ip for c in connections]


def test_workers_are_jobs_that_listen_where_they_are_told_to(make, slurm_cluster, tmp_path):
    submit = make(workers=2)
    assert [f.result(PATIENCE_S) for f in [submit(jobs.square, n) for n in range(4)]] == [0, 1, 4, 9]
    assert len(slurm_cluster.running()) == 2
    assert len(listeners()) >= 6
    assert set(listeners()) == {"127.0.0.1"}
    [key] = tmp_path.glob("jobs/*/key.pem")
    assert key.stat().st_mode & 0o077 == 0


def test_nobody_without_the_keys_is_let_in(make, slurm_cluster, tmp_path):
    submit = make()
    submit(jobs.square, 2).result(PATIENCE_S)
    [job] = slurm_cluster.running()
    address = slurm_cluster.command("scontrol", "write", "batch_script", job, "-").split("tls://")[1].split()[0]
    with pytest.raises(OSError, match="Connection reset"):
        distributed.Client(f"tcp://{address}", timeout=2, set_as_default=False)


def test_a_cancelled_job_loses_its_trial_and_is_replaced(make, slurm_cluster, tmp_path):
    submit = make()
    running = submit(parent_and_sleep, tmp_path / "pids")
    pid, _ = pids_in(tmp_path / "pids")
    [job] = slurm_cluster.running()
    slurm_cluster.command("scancel", job)
    with pytest.raises(WorkerLostError, match=r"Dask worker .* was lost"):
        running.result(PATIENCE_S)
    assert ends(pid, 1)
    assert submit(jobs.square, 3).result(PATIENCE_S) == 9
    assert job not in slurm_cluster.running()


def test_a_job_cancelled_before_its_worker_joined_is_replaced(make, slurm_cluster, monkeypatch):
    monkeypatch.setattr(_tend, "TEND_EVERY_S", 1.0)
    waiting = make(job_script_prologue=["sleep 5"])(jobs.square, 3)
    wait_until(slurm_cluster.running)
    [job] = slurm_cluster.running()
    slurm_cluster.command("scancel", job)
    assert waiting.result(PATIENCE_S) == 9


def test_jobs_that_end_at_once_end_the_run(make, tmp_path, monkeypatch):
    monkeypatch.setattr(_tend, "TEND_EVERY_S", 1.0)
    submit = make(workers=2, job_script_prologue=["exit 3"])
    with pytest.raises(WorkerLostError, match="ended before their Dask worker joined"):
        submit(jobs.square, 3).result(PATIENCE_S)
    with pytest.raises(DsnnHpoError, match=r"see their logs in .*jobs; mend that, then resume the run"):
        submit(jobs.square, 3)


def test_a_refused_job_is_an_error_at_once(make):
    with pytest.raises(ExperimentError, match="could be submitted: sbatch: error: invalid partition specified: nosuch"):
        make(queue="nosuch")(jobs.square, 3)
    with pytest.raises(ExperimentError, match="'eth9' is not a valid network interface"):
        make(interface="eth9")(jobs.square, 3)


def test_a_job_refused_later_is_asked_for_again(make, slurm_cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(_tend, "TEND_EVERY_S", 1.0)
    submit = make()
    submit(jobs.square, 3).result(PATIENCE_S)
    refusing = tmp_path / "bin" / "sbatch"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho busy >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    with pytest.warns(DsnnHpoWarning, match="refused a Dask worker") as warned:
        lose_worker(slurm_cluster, lambda: len(warned))
    refusing.unlink()
    assert submit(jobs.square, 4).result(PATIENCE_S) == 16


def test_a_cluster_closes_while_something_still_holds_its_jobs(slurm_cluster, tmp_path):
    config = ClusterConfig(type="slurm", interface="lo", memory="700MB", local_directory=str(tmp_path))

    async def opened_and_closed():
        folder = tmp_path / "jobs" / "session"
        folder.mkdir(parents=True)
        cluster = await open_cluster(config, 1, folder)
        held = list(cluster.workers.values())
        await cluster.close()
        return cluster, held

    cluster, held = asyncio.run(opened_and_closed())
    assert [job.status.name for job in held] == ["closed"]
    assert cluster.status.name == "closed"


def lose_worker(slurm_cluster, until):
    slurm_cluster.command("scancel", *slurm_cluster.running())
    wait_until(until)


def test_a_killed_driver_leaves_neither_jobs_nor_trials(slurm_cluster, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import time
        from pathlib import Path
        from dsnn_hpo.execution import DaskConfig, Job
        from dsnn_hpo.execution.dask import DaskExecutor
        from tests.execution import test_dask
        folder = Path({str(tmp_path)!r})
        cluster = dict(type="slurm", interface="lo", memory="700MB", local_directory={str(tmp_path)!r})
        executor = DaskExecutor(DaskConfig(kind="dask", cluster=cluster), folder)
        executor.submit(Job("1", test_dask.parent_and_sleep, folder / "pids", folder / "log"))
        time.sleep(600)
        """)
    )
    with subprocess.Popen([sys.executable, script]) as driver:
        pid, _ = pids_in(tmp_path / "pids")
        driver.kill()
    assert ends(pid, 20)
    wait_until(lambda: not slurm_cluster.jobs())


@pytest.mark.timeout(400)
def test_a_search_ends_as_if_no_worker_job_had_been_cancelled(slurm_cluster, tmp_path):
    def search(name, execution, *observers):
        changes = {
            "execution": {"workers": 2, "threads": 1, **execution},
            "optimizer": "random",
            "budget": {"trials": 4},
        }
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(EXPERIMENT), **changes}))
        return start(ExperimentConfig.from_file(file), tmp_path / name, observers).history

    class Canceller:
        """Cancels all worker jobs at a trial's start, until an attempt was lost: an idle one's end costs nothing."""

        n_left = 3

        def update(self, history):
            last = history.events[-1]
            if isinstance(last, Lost):
                self.n_left = 0
            elif isinstance(last, Asked) and history.results and self.n_left and (running := slurm_cluster.running()):
                self.n_left -= 1
                slurm_cluster.command("scancel", *running)

    canceller = Canceller()
    cluster = {"type": "slurm", "interface": "lo", "memory": "900MB", "local_directory": str(tmp_path)}
    disturbed = search("disturbed", {"kind": "dask", "cluster": cluster}, canceller)
    assert any(isinstance(event, Lost) for event in disturbed.events)
    assert outcomes(disturbed) == outcomes(search("undisturbed", {}))


def outcomes(history):
    """Returns what came of the trials, each of which was told once."""
    names = history.header.objectives
    told = sorted((r.trial.id, r.trial.config, [r.values[name] for name in names]) for r in history.results)
    assert [number for number, *_ in told] == list(range(history.n_asked))
    return told
