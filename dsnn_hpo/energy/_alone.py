"""One measurement at a time on a machine."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dsnn_hpo.errors import EnergyError

LOCK = "dsnn-hpo-measuring.lock"
WAIT_S = 1800.0
_POLL_S = 0.2
# So long a wait is told of.
_LONG_S = 5.0


@contextlib.contextmanager
def measuring_alone(folder: Path | None = None, wait_s: float = WAIT_S) -> Iterator[float]:
    """Lets only one process at a time measure on this machine; yields the seconds that it waited for others.

    All processes that see the same temporary folder take turns, of whatever user, and in containers that share it. The
    lock is the kernel's: it ends with its process, however that ends. It is not to be taken again within itself.

    Args:
        folder: where the lock's file lies; the system's temporary folder (``TMPDIR``) if None.
        wait_s: how long to wait for others.

    Raises:
        EnergyError: others measured for all of ``wait_s``, or the file can be neither made nor opened.
    """
    path = (folder or Path(tempfile.gettempdir())) / LOCK
    descriptor = _open(path)
    try:
        yield _wait(descriptor, path, wait_s)
    finally:
        # Closing it would not give the lock back where a process that was forked meanwhile holds it, too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _wait(descriptor: int, path: Path, wait_s: float) -> float:
    started = time.monotonic()
    is_told = False
    while True:
        waited_s = time.monotonic() - started
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waited_s >= wait_s:
                raise EnergyError(
                    f"other processes of this machine have measured energy for the {waited_s:.0f} s that this one waited for "
                    f"its turn; `fuser {path}` shows which"
                ) from None
        except OSError as error:
            raise EnergyError(f"{path} cannot be locked, so that nobody may measure alone: {error.strerror}") from error
        else:
            return waited_s
        if waited_s >= _LONG_S and not is_told:
            logging.getLogger(__name__).warning("waiting for other processes to end measuring (%s)", path)
            is_told = True
        time.sleep(min(_POLL_S, wait_s))


def _open(path: Path) -> int:
    """Returns the lock's file, made if need be; another user's will do, for it is only read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW
    # Twice: it may be made, or cleared away, meanwhile.
    for _ in range(2):
        try:
            # To ask for it to be made would be refused where it is another user's, in a folder for all.
            return os.open(path, flags)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise EnergyError(f"{path} cannot be opened, so that nobody may measure alone: {error.strerror}") from error
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            continue
        except OSError as error:
            raise EnergyError(
                f"{path} cannot be made: {error.strerror}; set TMPDIR to a folder that all who measure here may write to"
            ) from error
        # Whatever the umask: others are to open it, too.
        os.fchmod(descriptor, 0o644)
        return descriptor
    raise EnergyError(f"{path} comes and goes: something clears it away")
