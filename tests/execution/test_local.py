from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dsnn_hpo.errors import WorkerError
from dsnn_hpo.execution import ExecutionConfig, LocalExecutor


@pytest.fixture
def executor():
    executor = LocalExecutor(n_workers=2, n_threads=1)
    yield executor
    executor.close(wait=False)


def test_calls_run_in_other_processes_and_return_their_result(executor):
    assert executor.submit(pow, 2, 10).result(timeout=60) == 1024
    assert executor.submit(os.getpid).result(timeout=60) != os.getpid()


def test_workers_are_told_their_number_of_threads(executor):
    assert executor.submit(os.getenv, "OMP_NUM_THREADS").result(timeout=60) == "1"


def test_an_exception_reaches_the_caller(executor):
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 1, 0).result(timeout=60)


def test_a_killed_worker_fails_its_own_call_only_and_is_replaced(executor):
    slow = executor.submit(time.sleep, 1.0)
    with pytest.raises(WorkerError, match="SIGKILL"):
        executor.submit(signal.raise_signal, signal.SIGKILL).result(timeout=60)
    assert slow.result(timeout=60) is None
    assert executor.submit(pow, 3, 2).result(timeout=60) == 9


def test_a_worker_that_ends_by_itself_names_its_exit_code(executor):
    with pytest.raises(WorkerError, match="exit code 3"):
        executor.submit(os._exit, 3).result(timeout=60)


def test_closing_at_once_does_not_wait(executor):
    executor.submit(time.sleep, 60)
    executor.submit(pow, 1, 1).result(timeout=60)
    started = time.monotonic()
    executor.close(wait=False)
    assert time.monotonic() - started < 20


def test_threads_divide_the_cores():
    n_cores = len(os.sched_getaffinity(0))
    assert ExecutionConfig(workers=1).threads_per_worker == n_cores
    assert ExecutionConfig(workers=10 * n_cores).threads_per_worker == 1
    assert ExecutionConfig(workers=2, threads=3).threads_per_worker == 3


def test_a_script_needs_no_main_guard_and_workers_end_with_a_killed_driver(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import os, time
        from dsnn_hpo.execution import LocalExecutor
        executor = LocalExecutor(n_workers=1, n_threads=1)
        print(executor.submit(os.getpid).result(timeout=60), flush=True)
        executor.submit(time.sleep, 600)
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
