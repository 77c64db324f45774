"""This process and its children, by Linux's /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def family() -> set[int]:
    """Returns the numbers of this process and of all that descend from it; of this one alone where /proc has none."""
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        if pid in found:
            continue
        found.add(pid)
        # Processes end while one looks.
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    waiting += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return found
