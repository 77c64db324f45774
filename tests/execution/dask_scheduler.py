"""A Dask scheduler with workers under nannies, each in a process of its own, on 127.0.0.1 only."""

from __future__ import annotations

import atexit
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120


class DaskScheduler:
    """Starts a scheduler at once, workers when asked; ends them all when closed."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="dsnn-hpo-dask-")
        self.folder = Path(self._folder.name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        port = self.address.rpartition(":")[2]
        self.scheduler = self._run("dask_scheduler", "--host", "127.0.0.1", "--port", port)
        self._wait_for("scheduler", "Scheduler at:")

    def add_workers(self, n: int = 2) -> None:
        """Starts workers and returns when they have joined."""
        for _ in range(n):
            number = len(self._processes)
            self._run("dask_worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--name", str(number))
        for number in range(len(self._processes) - n, len(self._processes)):
            self._wait_for(f"{number}", "Registered to:")

    def kill_scheduler(self) -> None:
        self.scheduler.kill()
        self.scheduler.wait()

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._folder.cleanup()

    def _run(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        number = len(self._processes)
        name = "scheduler" if module == "dask_scheduler" else f"{number}"
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, "--no-dashboard"]
        command += ["--dashboard-address", "127.0.0.1:0"]
        if module == "dask_worker":
            command += ["--local-directory", str(self.folder)]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _wait_for(self, name: str, text: str) -> None:
        log = self.folder / f"{name}.log"
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(text, log.read_text()):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


@functools.cache
def shared_scheduler() -> DaskScheduler:
    """Returns a scheduler with two workers, the same one for all tests."""
    scheduler = DaskScheduler()
    atexit.register(scheduler.close)
    scheduler.add_workers(2)
    return scheduler
