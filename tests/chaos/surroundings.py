"""What surrounds a search and may fail: its disk, its MLflow server, its clock; each as far as this machine allows."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DISK_MIB = 256
SOURCE = Path(__file__).with_name("clock.c")
START_TIMEOUT_S = 120.0


@dataclass
class Disk:
    """A folder, on a disk of its own where that can be had (root)."""

    folder: Path
    is_own: bool

    @classmethod
    @contextlib.contextmanager
    def made(cls, folder: Path) -> Iterator[Disk]:
        """Yields a new one."""
        folder.mkdir(parents=True)
        is_own = _runs("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder))
        try:
            yield cls(folder, is_own)
        finally:
            while is_own and os.path.ismount(folder):
                # Whoever still writes there must not keep it.
                subprocess.run(["umount", "-l", str(folder)], check=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Fills the disk for a while."""
        filler = self.folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass
        try:
            yield
        finally:
            filler.unlink()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Makes the disk read-only for a while, except for files that are open."""
        subprocess.run(["mount", "--bind", str(self.folder), str(self.folder)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", str(self.folder)], check=True)
            yield
        finally:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@dataclass
class Server:
    """An MLflow server on this machine."""

    folder: Path
    port: int
    is_there: bool = True
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def address(self) -> str:
        """Returns its URI."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    @contextlib.contextmanager
    def made(cls, folder: Path) -> Iterator[Server]:
        """Yields a server that answers."""
        folder.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = cls(folder, port)
        server._start()
        try:
            server._wait_until_up()
            yield server
        finally:
            server._end()

    def _start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log").open("ab") as log:
            # A group of its own, to be ended as a whole.
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(f"{self.address}/health", timeout=5),
            ):
                return
            time.sleep(0.2)
        raise RuntimeError("the MLflow server did not start; see its log")

    def _end(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Lets the server hang for a while."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)


@dataclass
class Clock:
    """The wall clock of the processes that are started with its environment."""

    folder: Path
    is_ours: bool

    @classmethod
    @contextlib.contextmanager
    def made(cls, folder: Path) -> Iterator[Clock]:
        """Yields a clock that goes right, so far."""
        folder.mkdir()
        library = folder / "clock.so"
        is_ours = _runs("cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl")
        clock = cls(folder, is_ours)
        clock.jump(0)
        yield clock

    @property
    def environment(self) -> dict[str, str]:
        """Returns what makes a process use it."""
        if not self.is_ours:
            return {}
        return {"LD_PRELOAD": str(self.folder / "clock.so"), "CHAOS_CLOCK": str(self.folder / "offset")}

    def jump(self, seconds: int) -> None:
        """Sets the clock so far ahead of the right time, or behind it."""
        # In place: the file is in the memory of those who read it.
        path = self.folder / "offset"
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))
