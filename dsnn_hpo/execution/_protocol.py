"""The Executor protocol: the shape of `concurrent.futures`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol, TypeVar

R = TypeVar("R")


class Executor(Protocol):
    """Runs picklable functions elsewhere; a dead worker fails its own future with WorkerError, never the others."""

    @property
    def n_workers(self) -> int:
        """Returns how many calls run at the same time."""
        ...

    def submit(self, function: Callable[..., R], *arguments: object) -> Future[R]:
        """Returns the future result of ``function(*arguments)``."""
        ...

    def close(self, *, wait: bool) -> None:
        """Ends the workers: after what they are doing, or at once."""
        ...
