"""What every executor must do. A new one is one line in ``EXECUTORS``."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dsnn_hpo.errors import WorkerLostError
from dsnn_hpo.execution import DaskConfig, Executor, Job, LocalExecutor, SlurmConfig
from dsnn_hpo.execution.dask import DaskExecutor
from dsnn_hpo.execution.slurm import SlurmExecutor
from tests.execution import jobs
from tests.execution.dask_scheduler import shared_scheduler

Submit = Callable[..., Any]


def _dask(folder: Path, n_workers: int) -> Executor:
    return DaskExecutor(DaskConfig(kind="dask", address=shared_scheduler().address, workers=n_workers), folder)


EXECUTORS: dict[str, Callable[[Path, int], Executor]] = {
    "local": lambda folder, n_workers: LocalExecutor(n_workers, n_threads=1),
    "dask": _dask,
    "slurm": lambda folder, n_workers: SlurmExecutor(SlurmConfig(kind="slurm", workers=n_workers), folder),
}
# What they need.
FIXTURES = {"slurm": "slurm_cluster"}
# SLURM says so before it preempts a job: there it is a request, as Ctrl-C is to the driver.
SIGTERM_IS_A_REQUEST = {"slurm"}
PATIENCE_S = 120


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    if request.param in FIXTURES:
        request.getfixturevalue(FIXTURES[request.param])
    made = EXECUTORS[request.param](tmp_path, 2)
    yield made
    made.close()


@pytest.fixture
def submit(executor: Executor, tmp_path: Path) -> Submit:
    numbers = itertools.count()

    def submitted(function: Callable[..., Any], argument: Any = None) -> Any:
        number = next(numbers)
        return executor.submit(Job(f"{number:05d}-1", function, argument, tmp_path / "logs" / f"{number:05d}.log"))

    return submitted


def test_jobs_run_in_other_processes_and_return_their_result(submit: Submit) -> None:
    futures = [submit(jobs.square, n) for n in range(5)]
    assert [f.result(PATIENCE_S) for f in futures] == [0, 1, 4, 9, 16]
    assert submit(jobs.pid).result(PATIENCE_S) != os.getpid()


def test_as_many_as_there_are_workers_run_at_the_same_time(submit: Submit, executor: Executor) -> None:
    assert executor.n_workers == 2
    spans = [f.result(PATIENCE_S) for f in [submit(jobs.moment, 1.0) for _ in range(4)]]
    times = sorted(itertools.chain.from_iterable(((begin, 1), (end, -1)) for begin, end in spans))
    n_running = list(itertools.accumulate(step for _, step in times))
    assert max(n_running) == 2


def test_an_exception_reaches_the_caller(submit: Submit) -> None:
    with pytest.raises(ZeroDivisionError):
        submit(jobs.divide_by_zero).result(PATIENCE_S)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_killed_worker_loses_its_own_job_only_and_is_replaced(
    submit: Submit, number: int, request: pytest.FixtureRequest
) -> None:
    if number == signal.SIGTERM and request.node.callspec.params["executor"] in SIGTERM_IS_A_REQUEST:
        pytest.skip("here SIGTERM asks for a checkpoint, and kills nothing")
    slow = submit(jobs.sleep, 2.0)
    with pytest.raises(WorkerLostError, match=signal.Signals(number).name):
        submit(jobs.kill, number).result(PATIENCE_S)
    assert slow.result(PATIENCE_S) == "slept"
    assert [submit(jobs.square, n).result(PATIENCE_S) for n in (2, 3)] == [4, 9]


def test_a_worker_that_ends_by_itself_names_its_exit_code(submit: Submit) -> None:
    with pytest.raises(WorkerLostError, match="exit code 3"):
        submit(jobs.leave, 3).result(PATIENCE_S)


def test_what_a_job_prints_is_in_its_log(submit: Submit, tmp_path: Path) -> None:
    for text in ("first", "second"):
        submit(jobs.say, text).result(PATIENCE_S)
    for number, text in enumerate(("first", "second")):
        log = (tmp_path / "logs" / f"{number:05d}.log").read_text()
        assert f"== {number:05d}-1" in log
        assert all(f"{text}{rest}\n" in log for rest in ("", ", on the side", ", from below"))
    assert "first" not in log


def test_the_log_of_a_job_that_was_killed_is_kept(submit: Submit, tmp_path: Path) -> None:
    with pytest.raises(WorkerLostError):
        submit(jobs.kill, signal.SIGKILL).result(PATIENCE_S)
    assert "== 00000-1" in (tmp_path / "logs" / "00000.log").read_text()


def test_jobs_are_told_to_stop(submit: Submit, executor: Executor, tmp_path: Path) -> None:
    assert submit(jobs.until_stopped, 0.2).result(PATIENCE_S) >= 0.2
    running = submit(jobs.until_stopped, 60.0)
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "logs" / "00001.log").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    executor.interrupt()
    assert running.result(PATIENCE_S) < 30


def test_closing_ends_at_once_and_loses_what_runs_and_waits(submit: Submit, executor: Executor) -> None:
    pid = submit(jobs.pid).result(PATIENCE_S)
    futures = [submit(jobs.sleep, 60.0) for _ in range(4)]
    started = time.monotonic()
    executor.close()
    assert time.monotonic() - started < 20
    for future in futures:
        assert isinstance(future.exception(20), WorkerLostError)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/status").read_text().split("State:")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
