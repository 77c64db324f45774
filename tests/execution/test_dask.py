from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import distributed
import pydantic
import pytest
import yaml

from dsnn_hpo import journal
from dsnn_hpo.errors import (
    DsnnHpoError,
    DsnnHpoWarning,
    ExperimentError,
    MemoryLimitError,
    TimeLimitError,
    WorkerLostError,
)
from dsnn_hpo.execution import DaskConfig, Job
from dsnn_hpo.execution.dask import DaskExecutor, _executor, _remote, check_cluster
from tests.execution import jobs
from tests.execution.dask_scheduler import ROOT, DaskScheduler, shared_scheduler
from tests.experiment.conftest import EXPERIMENT, start_cli

PATIENCE_S = 120


class Submitter:
    """Submits numbered jobs to an executor of its own."""

    def __init__(self, folder, **config):
        self.folder = folder
        self.executor = DaskExecutor(DaskConfig(kind="dask", **config), folder)
        self._n = 0

    def __call__(self, function, argument=None):
        self._n += 1
        job = Job(f"{self._n:05d}-1", function, argument, self.folder / "logs" / f"{self._n:05d}.log")
        return self.executor.submit(job)


@pytest.fixture
def connect(tmp_path):
    """Returns a function that returns a submitter."""
    made = []

    def connected(address=None, **config):
        submit = Submitter(tmp_path, address=address or shared_scheduler().address, **config)
        made.append(submit.executor)
        return submit

    yield connected
    for executor in made:
        executor.close()


@pytest.fixture
def scheduler():
    """Returns a scheduler without workers that a test may do to what it wants."""
    started = DaskScheduler()
    yield started
    started.close()


def parent(_, should_stop):
    return os.getppid()


def parent_and_sleep(file, should_stop):
    Path(file).write_text(f"{os.getpid()} {os.getppid()}")
    time.sleep(600)


def pids_in(file):
    deadline = time.monotonic() + PATIENCE_S
    while not (file.exists() and " " in file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(pid) for pid in file.read_text().split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/status").read_text().split("State:")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid, within_s):
    deadline = time.monotonic() + within_s
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


def test_a_lost_worker_loses_its_own_job_only_and_ends_it(connect, tmp_path):
    submit = connect(workers=2)
    other = submit(jobs.sleep, 4.0)
    lost = submit(parent_and_sleep, tmp_path / "pids")
    pid, worker_pid = pids_in(tmp_path / "pids")
    os.kill(worker_pid, signal.SIGKILL)
    with pytest.raises(WorkerLostError, match=r"Dask worker .* was lost"):
        lost.result(PATIENCE_S)
    assert not is_alive(pid)
    assert other.result(PATIENCE_S) == "slept"
    assert [submit(jobs.square, n).result(PATIENCE_S) for n in (2, 3)] == [4, 9]


def test_limits_and_threads_hold_on_workers(connect):
    with pytest.raises(TimeLimitError, match="longer than the 3 s"):
        connect(trial_time_s=3)(jobs.sleep, 60).result(PATIENCE_S)
    submit = connect(memory_gb=0.5, threads=3)
    assert submit(jobs.variable, "OMP_NUM_THREADS").result(PATIENCE_S) == "3"
    with pytest.raises(MemoryLimitError, match=r"more than the 0\.5 GiB"):
        submit(jobs.fill_memory, 10**9).result(PATIENCE_S)
    assert submit(jobs.square, 3).result(PATIENCE_S) == 9


def loaded(name):
    return name in sys.modules


def test_neither_scheduler_nor_workers_import_torch(connect, tmp_path):
    submit = connect()
    submit(jobs.load, "torch").result(PATIENCE_S)
    with distributed.Client(shared_scheduler().address, set_as_default=False) as client:
        assert not any(client.run(loaded, "torch").values())
        assert not client.run_on_scheduler(loaded, "torch")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sees_folder": False}, r"worker tcp://\S+ does not see the run folder"),
        ({"python": "3.9"}, r"scheduler has python 3\.9, here is"),
        (None, r"scheduler cannot use dsnn-hpo, which must be installed there .*ModuleNotFoundError"),
    ],
)
def test_places_that_cannot_run_trials_are_refused(connect, monkeypatch, wrong, message):
    here = _remote.place(Path())
    monkeypatch.setattr(_executor, "_remote", SimpleNamespace(**{**vars(_remote), "place": Look(wrong, here)}))
    with pytest.raises(ExperimentError, match=message):
        connect()(jobs.square, 3)


class Look:
    """Finds something wrong with every place but this process."""

    def __init__(self, wrong, here):
        self.wrong, self.here, self.pid = wrong, here, os.getpid()

    def __call__(self, folder):
        if os.getpid() == self.pid:
            return self.here
        if self.wrong is None:
            raise ModuleNotFoundError("No module named 'dsnn_hpo'")
        return replace(_remote.place(folder), **self.wrong)


def test_without_the_run_s_folder_nothing_begins(connect, tmp_path):
    submit = connect()
    submit(jobs.square, 2).result(PATIENCE_S)
    for folder in (tmp_path / "jobs").iterdir():
        shutil.rmtree(folder)
    with pytest.raises(WorkerLostError, match="cannot write into the run folder"):
        submit(jobs.square, 3).result(PATIENCE_S)


def test_without_jobs_nothing_is_asked_for(tmp_path):
    executor = DaskExecutor(DaskConfig(kind="dask", address="tcp://127.0.0.1:9"), tmp_path)
    executor.close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_behind_in_the_run_s_folder(tmp_path):
    submit = Submitter(tmp_path, address=shared_scheduler().address)
    submit(jobs.square, 3).result(PATIENCE_S)
    submit.executor.close()
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_wrong_address_is_an_error_soon(connect, monkeypatch):
    monkeypatch.setattr(_executor, "CONNECT_S", 2.0)
    started = time.monotonic()
    with pytest.raises(
        ExperimentError, match=r"execution\.address: no Dask scheduler answered at tcp://127\.0\.0\.1:9 "
    ):
        connect("tcp://127.0.0.1:9")(jobs.square, 3)
    assert time.monotonic() - started < 30


def test_a_scheduler_without_workers_is_warned_of(connect, scheduler):
    submit = connect(scheduler.address)
    with pytest.warns(DsnnHpoWarning, match="has no workers yet"):
        waiting = submit(jobs.square, 3)
    scheduler.add_workers(1)
    assert waiting.result(PATIENCE_S) == 9


def test_a_lost_scheduler_loses_an_attempt_and_is_found_again(connect, scheduler):
    scheduler.add_workers(1)
    submit = connect(scheduler.address)
    running = submit(jobs.sleep, 600)
    time.sleep(1)
    scheduler.kill_scheduler()
    with pytest.raises(WorkerLostError, match="connection to the Dask scheduler was lost"):
        running.result(PATIENCE_S)
    waiting = submit(jobs.square, 3)
    scheduler.start()
    scheduler.add_workers(1)
    assert waiting.result(PATIENCE_S) == 9


def test_a_scheduler_that_stays_away_ends_the_run(connect, scheduler, monkeypatch):
    monkeypatch.setattr(_executor, "CONNECT_S", 1.0)
    monkeypatch.setattr(_executor, "RECONNECT_S", 2.0)
    scheduler.add_workers(1)
    submit = connect(scheduler.address)
    running = submit(jobs.sleep, 600)
    time.sleep(1)
    scheduler.kill_scheduler()
    with pytest.raises(WorkerLostError):
        running.result(PATIENCE_S)
    with pytest.raises(WorkerLostError):
        submit(jobs.square, 3).result(PATIENCE_S)
    with pytest.raises(DsnnHpoError, match=r"has been away for 2 s .* then resume the run"):
        submit(jobs.square, 3)


def test_the_trials_of_a_killed_driver_end(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        sys.path.append({str(ROOT)!r})
        from dsnn_hpo.execution import DaskConfig, Job
        from dsnn_hpo.execution.dask import DaskExecutor
        from tests.execution import test_dask
        folder = Path({str(tmp_path)!r})
        executor = DaskExecutor(DaskConfig(kind="dask", address={shared_scheduler().address!r}), folder)
        executor.submit(Job("1", test_dask.parent_and_sleep, folder / "pids", folder / "log"))
        time.sleep(600)
        """)
    )
    with subprocess.Popen([sys.executable, script]) as driver:
        pid, _ = pids_in(tmp_path / "pids")
        driver.kill()
    assert ends(pid, 20)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "either `address`"),
        ({"address": "tcp://a:1", "cluster": {"type": "slurm", "interface": "lo"}}, "either `address`"),
        ({"address": "node7"}, "address"),
        ({"cluster": {"type": "slurm"}}, "interface"),
        ({"cluster": {"type": "sulrm", "interface": "lo"}}, "'htcondor', 'lsf'"),
    ],
)
def test_a_wrong_section_is_refused(section, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        DaskConfig(kind="dask", **section)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "1GB", "que": "main"}, "SLURMJob says: .*unexpected keyword argument 'que'"),
        ({}, "how much cores and memory"),
        ({"memory": "1GB", "security": False}, r"cluster\.security is not yours to set"),
        ({"memory": "1GB", "processes": 2}, "3 workers cannot be divided into jobs of 2"),
    ],
)
def test_wrong_options_of_a_cluster_are_refused_before_anything_is_asked_for(options, message):
    config = DaskConfig(kind="dask", workers=3, cluster={"type": "slurm", "interface": "lo", **options})
    with pytest.raises(ExperimentError, match=message):
        check_cluster(config.cluster, config.workers)


def test_importing_dask_jobqueue_leaves_signals_alone():
    code = """if True:
        import signal, threading
        from dsnn_hpo.execution import DaskConfig
        from dsnn_hpo.execution.dask import check_cluster
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        config = DaskConfig(kind="dask", cluster={"type": "slurm", "interface": "lo", "memory": "1GB"})
        thread = threading.Thread(target=check_cluster, args=(config.cluster, 1))
        thread.start()
        thread.join()
        check_cluster(config.cluster, 1)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        assert signal.signal(signal.SIGINT, before[0]) is before[0]
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stderr


def test_threads_are_a_job_s_cores_divided_among_its_workers():
    cluster = {"type": "slurm", "interface": "lo", "cores": 8, "processes": 2}
    assert DaskConfig(kind="dask", workers=2, cluster=cluster).threads_per_worker == 4
    assert DaskConfig(kind="dask", address="tcp://a:1").threads_per_worker == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_that_is_interrupted_keeps_its_checkpoints_and_goes_on(tmp_path):
    changes = {
        "execution": {"kind": "dask", "workers": 2, "address": shared_scheduler().address},
        "optimizer": "random",
        # A checkpoint is kept every ten seconds; the search must last much longer.
        "fidelity": {"min_epochs": 1, "max_epochs": 1500},
        "budget": {"trials": 2},
    }
    file, folder = tmp_path / "experiment.yaml", tmp_path / "run"
    file.write_text(yaml.safe_dump({**yaml.safe_load(EXPERIMENT), **changes}))
    with start_cli("run", file, "--out", folder) as driver:
        while len(kept := progress(folder)) < 2 or min(kept) < 1:
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.1)
        interrupted_at = time.monotonic()
        driver.send_signal(signal.SIGINT)
        _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert time.monotonic() - interrupted_at < 30
    assert "Traceback" not in err
    assert f"dsnn-hpo resume {folder}" in err
    kept = progress(folder)
    with start_cli("resume", folder) as driver:
        _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    results = journal.read(folder / "journal.jsonl").results
    assert [result.n_epochs for result in results] == [1500, 1500]
    assert min(kept) > 0


def progress(folder):
    """Returns how many epochs of each trial are kept."""
    return [json.loads(path.read_text())["n_epochs"] for path in sorted(folder.glob("progress/*.json"))]
