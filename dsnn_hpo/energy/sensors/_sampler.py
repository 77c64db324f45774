"""A thread that reads a sensor now and then while its window is open."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Sampler:
    """Calls ``sample`` every ``interval_s`` seconds, from ``start`` to ``stop``; what it raises ends the calls."""

    def __init__(self, sample: Callable[[], None], interval_s: float) -> None:
        self._sample = sample
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def start(self) -> None:
        """Begins, after ending what an abandoned window left running."""
        if self._thread is not None:
            self._end()
        self._over, self._error = threading.Event(), None
        self._thread = threading.Thread(target=self._run, args=(self._over,), name="energy sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the calls, waiting for one under way; raises what one of them raised."""
        self._end()
        if self._error is not None:
            raise self._error

    def _end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, over: threading.Event) -> None:
        while not over.wait(self._interval_s):
            try:
                self._sample()
            # Whatever it is, it belongs to whoever closes the window.
            except Exception as error:  # noqa: BLE001
                self._error = error
                return
