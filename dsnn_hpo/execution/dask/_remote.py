"""What a Dask worker does with a trial: it gives it to a process of its own, and ends that when nobody waits any more.

A trial in the worker itself could not be ended, would answer for the memory of those before it, and take the worker
along when it dies.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib.metadata
import multiprocessing
import pickle
import platform
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from distributed import Status, Worker, get_worker

from dsnn_hpo.errors import WorkerLostError
from dsnn_hpo.execution._limits import Limits
from dsnn_hpo.execution._protocol import Job, ShouldStop
from dsnn_hpo.execution.local import LocalExecutor

WANTED_CHECK_S = 0.5
IDLE_S = 300.0

Outcome: TypeAlias = tuple[bytes | None, BaseException | None]
"""The packed result of a job, or why there is none."""


@dataclass(frozen=True, slots=True)
class Session:
    """What the workers know of a driver.

    Attributes:
        id: no other driver has it.
        n_threads: of each trial.
        limits: of each trial.
        begun: an empty folder, shared with the driver, for a mark of each job that began.
    """

    id: str
    n_threads: int
    limits: Limits
    begun: Path


def packed(job: Job) -> Job:
    """Returns the job as Dask is to see it: torch is imported by the process that calls the function, and no other."""
    return replace(job, function=_call, argument=pickle.dumps((job.function, job.argument)))


def unpacked(result: bytes) -> Any:
    """Returns what the function of a packed job returned."""
    # Whoever could forge it could have Dask's workers run anything.
    return pickle.loads(result)  # noqa: S301


def _call(call: bytes, should_stop: ShouldStop) -> bytes:
    function, argument = pickle.loads(call)  # noqa: S301 - the driver's own, see above
    return pickle.dumps(function(argument, should_stop))


def run(session: Session, job: Job) -> Outcome:
    """Returns what came of a packed job; a task of Dask's."""
    worker = get_worker()
    try:
        (session.begun / job.id).touch(exist_ok=False)
    except FileExistsError:
        # Dask begins the tasks of a lost worker again, if the scheduler is not ours; the journal would not know.
        return None, WorkerLostError("the Dask worker that had begun it was lost")
    except OSError as error:
        return None, WorkerLostError(f"{socket.gethostname()} cannot write into the run folder: {error}")
    key = worker.get_current_task()
    with _bench(session, worker) as executor:
        future = executor.submit(job)
        while not concurrent.futures.wait([future], WANTED_CHECK_S).done:
            if not _is_wanted(worker, key):
                _end(session.id)
        failure = future.exception()
        return (None, failure) if failure is not None else (future.result(), None)


def _is_wanted(worker: Worker, key: Any) -> bool:
    """Returns whether the scheduler still waits for a task: it forgets those of a driver that is gone."""
    task = worker.state.tasks.get(key)
    return worker.status in (Status.running, Status.paused) and task is not None and task.state == "executing"


@dataclass(slots=True)
class _Bench:
    """The processes that a worker has for a driver's trials: as many as it has threads."""

    executor: LocalExecutor
    n_running: int = 0
    last_used: float = 0.0


_lock = threading.Lock()
_benches: dict[str, _Bench] = {}
_interrupted: set[str] = set()


@contextlib.contextmanager
def _bench(session: Session, worker: Worker) -> Iterator[LocalExecutor]:
    with _lock:
        bench = _benches.get(session.id)
        if bench is None:
            bench = _benches[session.id] = _new_bench(session, worker.state.nthreads)
        bench.n_running += 1
    try:
        yield bench.executor
    finally:
        with _lock:
            bench.n_running -= 1
            bench.last_used = time.monotonic()


def _new_bench(session: Session, n_slots: int) -> _Bench:
    # Dask's workers are daemonic, and those may have no children lest they outlive them; ours end with their parent.
    vars(multiprocessing.current_process())["_config"]["daemon"] = False
    bench = _Bench(LocalExecutor(n_slots, session.n_threads, session.limits))
    if session.id in _interrupted:
        bench.executor.interrupt()
    threading.Thread(target=_end_when_idle, args=(session.id, bench), daemon=True).start()
    return bench


def _end_when_idle(session_id: str, bench: _Bench) -> None:
    # A driver that was killed says no goodbye, and a worker of someone else's scheduler lives on.
    while _benches.get(session_id) is bench:
        time.sleep(IDLE_S / 10)
        with _lock:
            idle = not bench.n_running and time.monotonic() - bench.last_used > IDLE_S
            if idle:
                _benches.pop(session_id, None)
        if idle:
            bench.executor.close()


def _end(session_id: str) -> None:
    with _lock:
        bench = _benches.pop(session_id, None)
    if bench is not None:
        bench.executor.close()


async def end(session_id: str) -> None:
    """Ends what a worker does for a driver, at once."""
    await asyncio.to_thread(_end, session_id)


def interrupt(session_id: str) -> None:
    """Tells the jobs of a driver to stop: those that the worker begins from now on, too."""
    with _lock:
        _interrupted.add(session_id)
        bench = _benches.get(session_id)
        if bench is not None:
            bench.executor.interrupt()


@dataclass(frozen=True, slots=True)
class Place:
    """What matters of a process of Dask's: its versions, and whether it sees the run folder."""

    python: str
    dsnn_hpo: str
    sees_folder: bool


def place(folder: Path) -> Place:
    """Returns what matters of the process that this is called in."""
    python = ".".join(platform.python_version_tuple()[:2])
    return Place(python, importlib.metadata.version("dsnn-hpo"), folder.is_dir())
