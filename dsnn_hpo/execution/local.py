"""Trials in worker processes on this machine: a pebble pool of isolated, reused, spawned processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from multiprocessing import popen_spawn_posix
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from dsnn_hpo.errors import DsnnHpoWarning, WorkerError

R = TypeVar("R")

PARENT_CHECK_S = 0.5


class LocalExecutor:
    """Runs calls in ``n_workers`` processes; one that dies is replaced and fails only its own call.

    The workers ignore Ctrl-C (the driver decides what becomes of them) and end by themselves when the driver is gone,
    however it died.
    """

    def __init__(self, n_workers: int, n_threads: int) -> None:
        self._n_workers = n_workers
        self._pool = ProcessPool(
            max_workers=n_workers,
            context=_MainlessContext(),
            initializer=_initialize_worker,
            initargs=(os.getpid(), n_threads),
        )

    @property
    def n_workers(self) -> int:
        """Returns how many calls run at the same time."""
        return self._n_workers

    def submit(self, function: Callable[..., R], *arguments: object) -> Future[R]:
        """Returns the future result of ``function(*arguments)``; fails with WorkerError if its process dies."""
        outer: Future[R] = Future()

        def pass_on(inner: Future[R]) -> None:
            try:
                outer.set_result(inner.result())
            except ProcessExpired as error:
                outer.set_exception(WorkerError(_cause_of_death(error.exitcode)))
            except CancelledError:
                outer.cancel()
            except Exception as error:  # noqa: BLE001 - handed on to whoever asks for the result
                outer.set_exception(error)

        self._pool.schedule(function, args=arguments).add_done_callback(pass_on)
        return outer

    def close(self, *, wait: bool) -> None:
        """Ends the workers: after what they are doing, or at once."""
        if wait:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()


def _cause_of_death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = " (out of memory, or killed by hand)" if -exit_code == signal.SIGKILL else ""
        return f"the worker process died of {name}{hint}"
    return f"the worker process ended by itself with exit code {exit_code}"


def _initialize_worker(driver_pid: int, n_threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Read by OpenMP and BLAS when torch and numpy are imported, which is later than this.
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    os.environ["MKL_NUM_THREADS"] = str(n_threads)
    # What a user should know, the driver has said once.
    warnings.simplefilter("ignore", DsnnHpoWarning)
    threading.Thread(target=_end_with_driver, args=(driver_pid,), daemon=True).start()


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
