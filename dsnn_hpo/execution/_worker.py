"""What happens around a job inside its worker, wherever that is: its log, and the memory that it may use."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsnn_hpo.execution._protocol import Job, ShouldStop

OUT_OF_MEMORY_EXIT_CODE = 77
"""Of a worker that ended itself because it used more memory than it may."""
TIME_LIMIT_EXIT_CODE = 78
"""Of a worker that ended itself because its job took longer than it may."""
MEMORY_CHECK_S = 0.1
_GIB = 2**30


def run_job(job: Job, should_stop: ShouldStop) -> Any:
    """Returns the result of a job, called here; what it prints, in whatever language, goes to its log."""
    with _logged(job):
        return job.function(job.argument, should_stop)


@contextmanager
def _logged(job: Job) -> Iterator[None]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        heading = (
            f"== {job.id} · {time.strftime('%Y-%m-%d %H:%M:%S')} · {socket.gethostname()} · process {os.getpid()}\n"
        )
        log.write(heading.encode())
        log.flush()
        streams = (sys.stdout, sys.stderr)
        kept = [os.dup(stream_number) for stream_number in (1, 2)]
        _flush(streams)
        for stream_number in (1, 2):
            os.dup2(log.fileno(), stream_number)
        try:
            yield
        finally:
            _flush(streams)
            for stream_number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, stream_number)
                os.close(descriptor)


def _flush(streams: tuple[Any, ...]) -> None:
    for stream in streams:
        stream.flush()


def limit_memory(memory_gb: float) -> None:
    """Returns nothing; from now on this process ends itself once it uses more memory than ``memory_gb`` (GiB).

    A limit on addresses would not do: torch reserves far more of them than it uses.
    """
    threading.Thread(target=_watch_memory, args=(memory_gb * _GIB,), daemon=True).start()


def limit_time(time_s: float) -> None:
    """Returns nothing; this process ends itself ``time_s`` seconds from now."""

    def end() -> None:
        print(f"took longer than the {time_s:g} s allowed", file=sys.stderr, flush=True)
        os._exit(TIME_LIMIT_EXIT_CODE)

    timer = threading.Timer(time_s, end)
    timer.daemon = True
    timer.start()


def _watch_memory(limit_bytes: float) -> None:
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    while True:
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page_bytes
        if resident > limit_bytes:
            print(
                f"used {resident / _GIB:.2f} GiB of memory, of {limit_bytes / _GIB:g} allowed",
                file=sys.stderr,
                flush=True,
            )
            os._exit(OUT_OF_MEMORY_EXIT_CODE)
        time.sleep(MEMORY_CHECK_S)
