"""Trials in worker processes on this machine: isolated, reused, spawned processes of pebble's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import popen_spawn_posix
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, TypeAlias

from pebble import ProcessExpired, ProcessPool

from dsnn_hpo.errors import DsnnHpoWarning, MemoryLimitError, TimeLimitError, WorkerError, WorkerLostError
from dsnn_hpo.execution._limits import NO_LIMITS, Limits
from dsnn_hpo.execution._protocol import Job
from dsnn_hpo.execution._worker import OUT_OF_MEMORY_EXIT_CODE, limit_memory, run_job

PARENT_CHECK_S = 0.5
JOIN_TIMEOUT_S = 5.0


class LocalExecutor:
    """Runs jobs in ``n_workers`` processes; one that dies is replaced and fails only its own job.

    Each worker is a pebble pool of its own: processes of one pool share locks, which one that is killed may take along.
    The workers ignore Ctrl-C (the driver decides what becomes of them) and end by themselves when the driver is gone,
    however it died.

    Args:
        n_workers: jobs at the same time.
        n_threads: of each worker.
        limits: of each job.
    """

    def __init__(self, n_workers: int, n_threads: int, limits: Limits = NO_LIMITS) -> None:
        self._flags = tempfile.TemporaryDirectory(prefix="dsnn-hpo-")
        stop = Path(self._flags.name) / "stop"
        gpus = visible_gpus()
        setups = [
            _Setup(os.getpid(), n_threads, limits.memory_gb, stop, gpus[i % len(gpus)] if gpus else None)
            for i in range(n_workers)
        ]
        self._stop = stop
        self._n_workers = n_workers
        self._limits = limits
        self._lock = threading.Lock()
        self._idle = [_Worker(setup) for setup in setups]
        self._busy: dict[_Worker, Future[Any]] = {}
        self._waiting: deque[tuple[Job, Future[Any]]] = deque()
        self._closed = False

    @property
    def n_workers(self) -> int:
        """Returns how many jobs run at the same time."""
        return self._n_workers

    def submit(self, job: Job) -> Future[Any]:
        """Returns the future result of the job; see ``Executor`` for what it fails with."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor is closed")
            self._waiting.append((job, future))
        self._start_waiting()
        return future

    def _start_waiting(self) -> None:
        while True:
            with self._lock:
                if self._closed or not self._waiting or not self._idle:
                    return
                worker = self._idle.pop(0)
                job, self._busy[worker] = self._waiting.popleft()
            worker.start(job, self._limits.time_s, partial(self._take, worker))

    def _take(self, worker: _Worker, result: Any, error: BaseException | None) -> None:
        with self._lock:
            future = self._busy.pop(worker, None)
            self._idle.append(worker)
        if future is None:
            # Closed in the meantime.
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
        self._start_waiting()

    def interrupt(self) -> None:
        """Tells all jobs to stop: those that run from now on, too."""
        self._stop.touch()

    def close(self) -> None:
        """Ends the workers at once, and what they are doing; jobs that did not end fail with WorkerLostError."""
        with self._lock:
            self._closed = True
            workers = [*self._idle, *self._busy]
            lost = [*self._busy.values(), *(future for _, future in self._waiting)]
            self._busy.clear()
            self._waiting.clear()
        for future in lost:
            future.set_exception(WorkerLostError("its worker was ended"))
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join()
        self._flags.cleanup()


@dataclass(frozen=True, slots=True)
class _Setup:
    """What a worker's process is told when it starts."""

    driver_pid: int
    n_threads: int
    memory_gb: float | None
    stop: Path
    gpu: str | None


Done: TypeAlias = Callable[[Any, BaseException | None], None]


class _Worker:
    """One process at a time, started at its first job and again after it died."""

    def __init__(self, setup: _Setup) -> None:
        self._setup = setup
        self._pool: ProcessPool | None = None
        self._lock = threading.Lock()
        self._ending: threading.Thread | None = None
        self._n_oom_kills = 0

    def start(self, job: Job, time_limit_s: float | None, done: Done) -> None:
        """Starts a job and returns; ``done`` is called with its result or error, from another thread."""
        self._n_oom_kills = n_oom_kills()
        arguments = (run_job, (job, _ShouldStop(self._setup.stop)))
        try:
            if self._pool is None:
                self._pool = self._new_pool()
            inner = self._pool.schedule(*arguments)
        except (RuntimeError, OSError):
            # The process died between two jobs.
            self._abandon()
            self._pool = self._new_pool()
            inner = self._pool.schedule(*arguments)
        timer = _Timer(time_limit_s, inner.cancel)
        inner.add_done_callback(lambda ended: self._end(ended, timer, time_limit_s, done))

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=1, context=_MainlessContext(), initializer=_initialize_worker, initargs=(self._setup,)
        )

    def _end(self, ended: Future[Any], timer: _Timer, time_limit_s: float | None, done: Done) -> None:
        is_late = timer.stop()
        result: Any = None
        error: BaseException | None = None
        try:
            result = ended.result()
        except CancelledError:
            late = TimeLimitError(f"it took longer than the {time_limit_s:g} s that a trial may")
            error = late if is_late else WorkerLostError("its worker was stopped")
            self._abandon()
        except ProcessExpired as expired:
            error = self._error_of(expired.exitcode)
            self._abandon()
        except BrokenProcessPool:
            error = WorkerLostError("the worker process died as it began")
            self._abandon()
        except Exception as raised:  # noqa: BLE001 - handed on to whoever asks for the result
            error = raised
        done(result, error)

    def _error_of(self, exit_code: int | None) -> WorkerError:
        if exit_code == OUT_OF_MEMORY_EXIT_CODE:
            return MemoryLimitError(f"its process used more than the {self._setup.memory_gb:g} GiB that a trial may")
        if exit_code == -signal.SIGKILL and n_oom_kills() > self._n_oom_kills:
            return MemoryLimitError("the system killed its process because memory ran out")
        return WorkerLostError(_cause_of_death(exit_code))

    def _abandon(self) -> None:
        """Leaves the pool to itself; ending it may take a while, or for ever if its process died in mid-sentence."""
        # Closing may come at the same time as the end of a job; a pool can be ended only once.
        with self._lock:
            pool, self._pool = self._pool, None
            if pool is not None:
                self._ending = threading.Thread(target=_end_pool, args=(pool,), daemon=True)
                self._ending.start()

    def stop(self) -> None:
        """Ends the process at once."""
        pool = self._pool
        if pool is not None:
            pool.stop()

    def join(self) -> None:
        """Waits until the process is gone, a few seconds at most."""
        self._abandon()
        if self._ending is not None:
            self._ending.join(JOIN_TIMEOUT_S)


def _end_pool(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


class _Timer:
    """Calls a function after a time by the monotonic clock, unless stopped before: other clocks are set by people."""

    def __init__(self, seconds: float | None, function: Callable[[], object]) -> None:
        self._fired = False
        self._function = function
        self._timer = None if seconds is None else threading.Timer(seconds, self._fire)
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def _fire(self) -> None:
        self._fired = True
        self._function()

    def stop(self) -> bool:
        """Returns whether the time was up."""
        if self._timer is not None:
            self._timer.cancel()
        return self._fired


@dataclass(frozen=True, slots=True)
class _ShouldStop:
    """Says whether there is a file that says so."""

    file: Path

    def __call__(self) -> bool:
        return self.file.exists()


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (out of memory, or killed by hand)" if -exit_code == signal.SIGKILL else ""
        return f"the worker process died of {name}{hint}"
    return f"the worker process ended by itself with exit code {exit_code}"


def n_oom_kills() -> int:
    """Returns how many processes the system has killed for want of memory, in this container or on this machine."""
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with contextlib.suppress(OSError):
            for line in path.read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return 0


def visible_gpus() -> list[str]:
    """Returns the NVIDIA graphics cards that this process may use, as CUDA names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []


def _initialize_worker(setup: _Setup) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Read by OpenMP and BLAS when torch and numpy are imported, which is later than this.
    os.environ["OMP_NUM_THREADS"] = str(setup.n_threads)
    os.environ["MKL_NUM_THREADS"] = str(setup.n_threads)
    if setup.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = setup.gpu
    # Its lock between processes would be reported as leaked when this one is ended; torch.fx makes a bar for each pass.
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())
    # What a user should know, the driver has said once.
    warnings.simplefilter("ignore", DsnnHpoWarning)
    threading.Thread(target=_end_with_driver, args=(setup.driver_pid,), daemon=True).start()
    if setup.memory_gb is not None:
        limit_memory(setup.memory_gb)


def _end_with_driver(driver_pid: int) -> None:
    while os.getppid() == driver_pid:
        time.sleep(PARENT_CHECK_S)
    os._exit(1)


class _MainlessPopen(popen_spawn_posix.Popen):
    """Starts a process that does not import the caller's script again.

    Otherwise every script that calls ``dsnn_hpo.run`` would need an ``if __name__ == "__main__"`` guard; what workers
    run lives in modules, never in the script.
    """

    _lock = threading.Lock()

    def _launch(self, process_obj: Any) -> None:
        with self._lock:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = types.ModuleType("__main__")
            try:
                super()._launch(process_obj)  # type: ignore[misc]
            finally:
                sys.modules["__main__"] = main


class _MainlessProcess(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - overrides multiprocessing's name
        return _MainlessPopen(process_obj)


class _MainlessContext(SpawnContext):
    Process = _MainlessProcess
