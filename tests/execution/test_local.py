from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dsnn_hpo.errors import MemoryLimitError, TimeLimitError, WorkerLostError
from dsnn_hpo.execution import Job, Limits, LocalConfig, LocalExecutor
from dsnn_hpo.execution._limits import NO_LIMITS
from dsnn_hpo.execution.local import visible_gpus
from tests.execution import jobs

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


@pytest.fixture
def make(tmp_path):
    """Returns a function that makes an executor and returns one that submits to it."""
    made = []

    def submitter(n_workers=1, limits=NO_LIMITS):
        executor = LocalExecutor(n_workers, 1, limits)
        made.append(executor)
        return lambda function, argument=None: executor.submit(Job("1", function, argument, tmp_path / "1.log"))

    yield submitter
    for executor in made:
        executor.close()


def test_workers_are_told_their_number_of_threads(make):
    assert make()(jobs.variable, "OMP_NUM_THREADS").result(PATIENCE_S) == "1"


def test_a_process_is_used_again(make):
    submit = make()
    assert submit(jobs.pid).result(PATIENCE_S) == submit(jobs.pid).result(PATIENCE_S)


def test_each_worker_has_a_graphics_card_of_its_own(make, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-b")
    submit = make(n_workers=3)
    seen = [submit(jobs.variable, "CUDA_VISIBLE_DEVICES") for _ in range(3)]
    assert sorted(f.result(PATIENCE_S) for f in seen) == ["4", "4", "GPU-b"]


def test_without_cards_nothing_is_hidden(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []


def test_a_job_that_takes_too_long_has_failed_and_its_worker_is_replaced(make):
    submit = make(limits=Limits(time_s=3))
    with pytest.raises(TimeLimitError, match="longer than the 3 s"):
        submit(jobs.sleep, 60).result(PATIENCE_S)
    assert submit(jobs.square, 3).result(PATIENCE_S) == 9


def test_a_job_that_takes_too_much_memory_has_failed_and_its_worker_is_replaced(make, tmp_path):
    submit = make(limits=Limits(memory_gb=0.5))
    with pytest.raises(MemoryLimitError, match=r"more than the 0\.5 GiB"):
        submit(jobs.fill_memory, 10**9).result(PATIENCE_S)
    assert "of 0.5 allowed" in (tmp_path / "1.log").read_text()
    assert submit(jobs.square, 3).result(PATIENCE_S) == 9


def test_a_process_that_the_system_killed_for_memory_is_told_apart(make, monkeypatch):
    submit = make()
    submit(jobs.pid).result(PATIENCE_S)
    counts = iter([3, 4])
    monkeypatch.setattr("dsnn_hpo.execution.local.n_oom_kills", lambda: next(counts))
    with pytest.raises(MemoryLimitError, match="memory ran out"):
        submit(jobs.kill, signal.SIGKILL).result(PATIENCE_S)


def test_a_worker_killed_between_two_jobs_is_replaced(make):
    submit = make()
    for _ in range(3):
        os.kill(submit(jobs.pid).result(PATIENCE_S), signal.SIGKILL)
        time.sleep(0.5)
        assert submit(jobs.square, 4).result(PATIENCE_S) == 16


def test_workers_killed_at_any_moment_lose_a_job_each_at_most(make):
    submit = make(n_workers=2)
    n_kills = n_lost = 0

    def ends(future):
        try:
            return future.result(PATIENCE_S)
        except WorkerLostError:
            return None

    for delay_ms in range(0, 60, 5):
        pid = ends(submit(jobs.pid))
        future = submit(jobs.sleep, 0.02)
        time.sleep(delay_ms / 1000)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            n_kills += 1
        n_lost += [pid, ends(future), ends(submit(jobs.square, 5))].count(None)
    assert n_kills >= 6
    assert n_lost <= n_kills


def test_threads_divide_the_cores():
    n_cores = len(os.sched_getaffinity(0))
    assert LocalConfig(workers=1).threads_per_worker == n_cores
    assert LocalConfig(workers=10 * n_cores).threads_per_worker == 1
    assert LocalConfig(workers=2, threads=3).threads_per_worker == 3


def test_a_script_needs_no_main_guard_and_workers_end_with_a_killed_driver(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        sys.path.append({str(ROOT)!r})
        from tests.execution import jobs
        from dsnn_hpo.execution import Job, LocalExecutor
        executor = LocalExecutor(n_workers=1, n_threads=1)
        log = Path({str(tmp_path)!r}) / "log"
        print(executor.submit(Job("1", jobs.pid, None, log)).result(timeout=60), flush=True)
        executor.submit(Job("2", jobs.sleep, 600, log))
        time.sleep(600)
        """)
    )
    driver = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with driver:
        worker_pid = int(driver.stdout.readline())
        driver.kill()
    deadline = time.monotonic() + 20
    while _alive(worker_pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(worker_pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/status").read_text().split("State:")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
