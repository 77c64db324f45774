"""What the workers of the executors' conformance tests are given to do."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

from dsnn_hpo.errors import TrialInterruptedError


def square(n, should_stop):
    return n * n


def pid(_, should_stop):
    return os.getpid()


def variable(name, should_stop):
    return os.environ.get(name)


def divide_by_zero(_, should_stop):
    return 1 // 0


def sleep(seconds, should_stop):
    time.sleep(seconds)
    return "slept"


def kill(number, should_stop):
    # Where a cluster lets jobs write one, it is as large as the process.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.raise_signal(number)


def kill_first_time(marker, should_stop):
    """Dies at its first attempt, which leaves a file behind."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        signal.raise_signal(signal.SIGKILL)
    return "second time"


def leave(code, should_stop):
    os._exit(code)


def fill_memory(n_bytes, should_stop):
    held = bytearray(n_bytes)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(30)
    return len(held)


def say(text, should_stop):
    print(text)
    print(f"{text}, on the side", file=sys.stderr)
    # Past Python, as compiled code writes.
    os.write(1, f"{text}, from below\n".encode())


def until_stopped(limit_s, should_stop):
    """Returns how long it went on until it was asked to stop."""
    started = time.monotonic()
    while not should_stop() and time.monotonic() - started < limit_s:
        time.sleep(0.05)
    return time.monotonic() - started


def moment(seconds, should_stop):
    """Returns when it began and ended, by a clock that all processes of a machine share."""
    started = time.monotonic()
    time.sleep(seconds)
    return started, time.monotonic()


def load(name, should_stop):
    importlib.import_module(name)


def checkpointing(folder, should_stop):
    """Goes on until it is asked to stop, when it would keep a checkpoint; returns at once when it is begun again."""
    begun = Path(folder) / "begun"
    with begun.open("a") as file:
        file.write(f"{os.environ.get('SLURMD_NODENAME')}\n")
    nodes = begun.read_text().split()
    if len(nodes) > 1:
        return nodes
    started = time.monotonic()
    while time.monotonic() - started < 300:
        if should_stop():
            (Path(folder) / "checkpoint").touch()
            raise TrialInterruptedError("stopped")
        time.sleep(0.05)
    return nodes


def deaf(folder, should_stop):
    """Never looks whether it should stop; returns at once when it is begun again."""
    begun = Path(folder) / "begun"
    if begun.exists():
        return "second time"
    begun.touch()
    time.sleep(300)
    return "first time"
