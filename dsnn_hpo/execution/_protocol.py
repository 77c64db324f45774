"""The Executor protocol: the shape of `concurrent.futures`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

ShouldStop: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Job:
    """A call to run in a worker: one attempt at a trial.

    Attributes:
        id: unique in the run, fit for a file's name: the trial and the attempt.
        function: picklable; called with the argument and a function that says whether it should stop soon, to be asked
            now and then.
        argument: picklable.
        log: all that the call prints is added to this file.
    """

    id: str
    function: Callable[[Any, ShouldStop], Any]
    argument: Any
    log: Path


class Executor(Protocol):
    """Runs jobs in workers; a worker that ends fails its own job, never the others.

    A job's future fails with

    - what its function raised;
    - WorkerLostError if its worker ended through no fault of the function's, for whatever reason: it may be tried again;
    - MemoryLimitError or TimeLimitError if the job took more than it may.
    """

    @property
    def n_workers(self) -> int:
        """Returns how many jobs run at the same time."""
        ...

    def submit(self, job: Job) -> Future[Any]:
        """Returns the future result of the job, which starts when a worker is free."""
        ...

    def interrupt(self) -> None:
        """Tells all jobs to stop: those that run from now on, too."""
        ...

    def close(self) -> None:
        """Ends the workers at once, and what they are doing."""
        ...
