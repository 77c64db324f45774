"""From what SLURM says of a job that left no result to what that means for its trial."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from dsnn_hpo.errors import MemoryLimitError, TimeLimitError, WorkerError, WorkerLostError
from dsnn_hpo.execution._config import SlurmConfig
from dsnn_hpo.execution._worker import OUT_OF_MEMORY_EXIT_CODE, TIME_LIMIT_EXIT_CODE
from dsnn_hpo.execution.slurm._commands import Row

_OUT_OF_MEMORY = re.compile(r"exceeded (job |step )?memory limit|oom[-_ ]kill|out of memory", re.IGNORECASE)
# A job that waits for one of these waits for ever, or until someone changes the cluster.
_NEVER = re.compile(
    r"BadConstraints|Invalid(Account|QOS)|PartitionConfig|PartitionTimeLimit|AccountNotAllowed|QOSNotAllowed"
    r"|(QOS|Assoc)Max\w*PerJob|(QOS|Assoc)MaxWall|QOSMin|MaxMemPerLimit|DependencyNeverSatisfied",
    re.IGNORECASE,
)
_DOUBTFUL = re.compile(
    r"ReqNodeNotAvail|PartitionDown|PartitionInactive|PartitionNodeLimit|JobHeld|DOWN, DRAINED|Reservation",
    re.IGNORECASE,
)
_HELD = re.compile(r"requeued.held|JobHoldMaxRequeue", re.IGNORECASE)


def never_starts(row: Row) -> bool:
    """Returns whether a job waits for something that does not come by waiting."""
    return row.state == "PENDING" and bool(_NEVER.search(row.reason))


def is_doubtful(row: Row) -> bool:
    """Returns whether a job waits for something that someone may have to do."""
    return row.state == "PENDING" and bool(_DOUBTFUL.search(row.reason))


def is_held(row: Row) -> bool:
    """Returns whether SLURM gave the job up: it stays in the queue, but is not tried again."""
    return row.state == "PENDING" and bool(_HELD.search(row.reason))


@dataclass(frozen=True, slots=True)
class End:
    """The end of a job that left no result: its row, None if SLURM has forgotten it, and the end of what it printed."""

    slurm_id: str
    row: Row | None
    errors: str

    def error(self, config: SlurmConfig) -> WorkerError:
        """Returns what the end means."""
        row = self.row
        if row is None:
            return WorkerLostError(
                f"its job {self.slurm_id} vanished from SLURM's queue without a result{self._hint()}"
            )
        if row.state == "OUT_OF_MEMORY" or self._is_killed_for_memory(row):
            allowed = "" if config.memory_gb is None else f" ({config.memory_gb:g} GiB)"
            return MemoryLimitError(f"its job used more memory than it had asked for{allowed}", row.ran_s)
        if row.exit_code == TIME_LIMIT_EXIT_CODE and config.trial_time_s is not None:
            return TimeLimitError(f"it took longer than the {config.trial_time_s:g} s that a trial may", row.ran_s)
        return WorkerLostError(f"its job {self.slurm_id}{_where(row)} {self._what_happened(row, config)}", row.ran_s)

    def _is_killed_for_memory(self, row: Row) -> bool:
        if row.exit_code == OUT_OF_MEMORY_EXIT_CODE:
            return True
        was_killed = signal.SIGKILL in (row.exit_signal, row.exit_code - 128)
        # SLURM itself kills a whole job so, if it is not told to use control groups.
        of_slurm = row.state == "FAILED" and row.exit_signal == signal.SIGKILL
        return of_slurm or (was_killed and bool(_OUT_OF_MEMORY.search(self.errors)))

    def _what_happened(self, row: Row, config: SlurmConfig) -> str:
        match row.state:
            case "CANCELLED":
                return "was cancelled"
            case "NODE_FAIL" | "BOOT_FAIL":
                return "was lost with its node"
            case "PREEMPTED":
                return "was preempted and not requeued"
            case "TIMEOUT" | "DEADLINE":
                return f"reached its time limit of {config.job_time_min} min before it could keep a checkpoint and be requeued"
            case "PENDING":
                return f"is held back by SLURM after a failure ({row.reason})"
        number = row.exit_signal or max(0, row.exit_code - 128)
        if number in {member.value for member in signal.Signals}:
            return f"died of {signal.Signals(number).name}"
        return f"ended by itself with exit code {row.exit_code}{self._hint()}"

    def _hint(self) -> str:
        lines = [
            line for line in self.errors.splitlines() if line.strip() and not line.startswith(("srun:", "slurmstepd"))
        ]
        return f": {lines[-1].strip()[:200]}" if lines else ""


def _where(row: Row) -> str:
    return f" on {row.nodes}" if row.nodes else ""
