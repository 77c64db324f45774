"""Attempts at trials: what a worker is given, and what its end means for the trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from dsnn_hpo.errors import (
    ClusterError,
    DsnnHpoError,
    MemoryLimitError,
    TimeLimitError,
    TrialInterruptedError,
    WorkerError,
    WorkerLostError,
)
from dsnn_hpo.evaluation import progress_path, read_progress
from dsnn_hpo.execution import Executor, Job, ShouldStop
from dsnn_hpo.trial import FailureCause, Result, Trial, TrialState

N_LOG_LINES = 12
MAX_LOG_TAIL = 2000

Evaluate = Callable[[Trial, ShouldStop], Result]


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a trial, counted from 1, submitted at ``started`` (seconds of the monotonic clock)."""

    trial: Trial
    number: int
    started: float


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """An attempt that is to be made again; ``seconds`` of it were for nothing."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where and how trials are evaluated.

    Attributes:
        executor: runs jobs.
        evaluate: the target function, picklable.
        folder: the run folder, in which each trial has its log and tells its progress.
        max_attempts: a trial whose workers were lost so many times has failed.
    """

    executor: Executor
    evaluate: Evaluate
    folder: Path
    max_attempts: int

    def submit(self, attempt: Attempt) -> Future[Result]:
        """Returns the future result of an attempt."""
        trial = attempt.trial
        job = Job(f"{trial.id:05d}-{attempt.number}", self.evaluate, trial, self.folder / log_path(trial))
        return self.executor.submit(job)

    def outcome(self, attempt: Attempt, future: Future[Result]) -> Result | LostAttempt | None:
        """Returns what came of an attempt: a result, or that it was lost; None if it stopped as it was asked to.

        Raises:
            ClusterError: no attempt at any trial can succeed.
        """
        trial = attempt.trial
        try:
            result = future.result()
        except TrialInterruptedError:
            return None
        except ClusterError:
            raise
        except WorkerLostError as error:
            if attempt.number < self.max_attempts:
                return LostAttempt(str(error), self._seconds_for_nothing(attempt, error))
            times = f"lost {attempt.number} times, the last time: " if attempt.number > 1 else ""
            result = self._failed(attempt, FailureCause.LOST, f"{times}{error}", error.ran_s)
        except MemoryLimitError as error:
            result = self._failed(attempt, FailureCause.OUT_OF_MEMORY, str(error), error.ran_s)
        except TimeLimitError as error:
            result = self._failed(attempt, FailureCause.TIME_LIMIT, str(error), error.ran_s)
        except DsnnHpoError as error:
            result = self._failed(attempt, FailureCause.EXCEPTION, str(error))
        log = log_path(trial)
        tail = last_lines(self.folder / log) if result.state is TrialState.FAILED else ""
        return replace(result, log=str(log), log_tail=tail)

    def _failed(self, attempt: Attempt, cause: FailureCause, error: str, ran_s: float | None = None) -> Result:
        kept = read_progress(self.folder, attempt.trial)
        seconds = time.monotonic() - attempt.started if ran_s is None else ran_s
        return Result(
            attempt.trial,
            TrialState.FAILED,
            error=error,
            cause=cause,
            seconds=seconds,
            n_epochs=kept.n_epochs,
            energy_j=kept.energy_j,
        )

    def _seconds_for_nothing(self, attempt: Attempt, error: WorkerError) -> float:
        """Returns the seconds since the attempt's last checkpoint, or since it began."""
        since_submitted = time.monotonic() - attempt.started
        if error.ran_s is not None:
            # The rest it waited, e.g. in a cluster's queue.
            since_submitted = min(since_submitted, error.ran_s)
        try:
            since_kept = time.time() - progress_path(self.folder, attempt.trial).stat().st_mtime
        except FileNotFoundError:
            return since_submitted
        # The file may be of an earlier attempt, and the wall clock may have been set.
        return min(max(since_kept, 0.0), since_submitted)


def log_path(trial: Trial) -> Path:
    """Returns where the log of a trial is, relative to the run folder."""
    return Path("logs") / f"{trial.id:05d}.log"


def last_lines(path: Path) -> str:
    """Returns the last lines of a log, or nothing if there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - MAX_LOG_TAIL))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-N_LOG_LINES:])
