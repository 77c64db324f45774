"""What runs inside a SLURM job: the call, the signals that SLURM sends to it, and being requeued."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnn_hpo.errors import DsnnHpoWarning, TrialInterruptedError, WorkerLostError
from dsnn_hpo.execution._limits import Limits
from dsnn_hpo.execution._protocol import Job
from dsnn_hpo.execution._worker import limit_memory, limit_time, run_job

STOP_SIGNAL = signal.SIGUSR1
"""The driver asks its jobs to stop."""
TIME_IS_UP_SIGNAL = signal.SIGUSR2
"""SLURM warns of the job's time limit, or of preemption where a cluster is set up so; submitit's own signal for it."""
END_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job, as its process wrote it: a result or an error. ``argument`` says whose it is."""

    job_id: str
    argument: Any
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class JobCall:
    """A job as SLURM runs it, picklable; it can be requeued, since jobs go on from their own checkpoints.

    Attributes:
        job: to run.
        stop: a file that tells it to stop once it exists.
        limits: what it may take.
        max_restarts: of one SLURM job; then it is lost.
    """

    job: Job
    stop: Path
    limits: Limits
    max_restarts: int

    def __call__(self) -> Outcome:
        """Returns what came of the job."""
        # What a user should know, the driver has said once.
        warnings.simplefilter("ignore", DsnnHpoWarning)
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) > self.max_restarts:
            return self._failed(WorkerLostError(f"its job was requeued more than {self.max_restarts} times"))
        if self.limits.memory_gb is not None:
            limit_memory(self.limits.memory_gb)
        if self.limits.time_s is not None:
            limit_time(self.limits.time_s)
        signals = _Signals(self.stop)
        try:
            return Outcome(self.job.id, self.job.argument, run_job(self.job, signals.should_stop))
        except TrialInterruptedError as error:
            # Its checkpoint is kept.
            return self._failed(signals.obey() or error)
        except Exception as error:  # noqa: BLE001 - handed on to whoever asks for the result
            return self._failed(error)

    def _failed(self, error: Exception) -> Outcome:
        return Outcome(self.job.id, self.job.argument, error=error)

    def checkpoint(self) -> Any:
        """Returns the same call, for submitit to requeue."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(slots=True)
class _Signals:
    """Remembers the signals that came; all of them ask the job to keep a checkpoint and to stop."""

    stop: Path
    _came: set[int] = field(default_factory=set)
    _requeue: Any = None

    def __post_init__(self) -> None:
        self._requeue = signal.getsignal(TIME_IS_UP_SIGNAL)
        for number in (STOP_SIGNAL, TIME_IS_UP_SIGNAL, signal.SIGTERM):
            signal.signal(number, lambda came, _frame: self._came.add(came))

    def should_stop(self) -> bool:
        """Returns whether the job should stop, for whatever reason."""
        return bool(self._came) or self.stop.exists()

    def obey(self) -> WorkerLostError | None:
        """Does what the signals ask for, now that the job has stopped; returns what went wrong with that.

        Ends the process where the job is requeued, and waits for its end where SLURM is about to end it.
        """
        if STOP_SIGNAL in self._came or self.stop.exists():
            return None
        if signal.SIGTERM in self._came:
            # One that ended by itself now would not be requeued after preemption.
            time.sleep(END_PATIENCE_S)
            return WorkerLostError("its job was told to end (SIGTERM), but was not ended")
        if callable(self._requeue):
            try:
                self._requeue(TIME_IS_UP_SIGNAL, None)
            except (OSError, subprocess.SubprocessError) as error:
                return WorkerLostError(f"its job could not be requeued: {error}")
        return None
