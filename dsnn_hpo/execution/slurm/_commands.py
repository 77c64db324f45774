"""SLURM's own commands: asking for the jobs of a run, cancelling and signalling them. One call for all of them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TIMEOUT_S = 60.0
FIELDS = "JobArrayID:|,State:|,exit_code:|,TimeUsed:|,NodeList:|,Reason:|"
N_FIELDS = 6
_OVER = re.compile(r"invalid job id|already complet", re.IGNORECASE)
FINAL_STATES = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    }
)


class SlurmSilentError(Exception):
    """A command of SLURM's failed or did not answer; that says nothing about the jobs."""


@dataclass(frozen=True, slots=True)
class Row:
    """A job as SLURM lists it.

    Attributes:
        id: of the job, or ARRAY_TASK.
        state: such as "RUNNING".
        exit_code: of the job's script.
        exit_signal: that ended the script, or 0.
        ran_s: seconds that it ran, this time.
        nodes: where, empty if nowhere yet.
        reason: why it waits, or how it failed; as SLURM says it.
    """

    id: str
    state: str
    exit_code: int
    exit_signal: int
    ran_s: float
    nodes: str
    reason: str

    @property
    def is_over(self) -> bool:
        """Returns whether the job has ended."""
        return self.state in FINAL_STATES


class Queue:
    """The jobs of one run: this user's jobs of one name."""

    def __init__(self, name: str) -> None:
        self._filter = [f"--name={name}", f"--user={os.getuid()}"]

    def rows(self) -> dict[str, Row]:
        """Returns the run's jobs by id, those that ended a few minutes ago too; raises SlurmSilentError."""
        listed = command(["squeue", "--noheader", "--array", "--states=all", f"--Format={FIELDS}", *self._filter])
        rows = [_row(line) for line in listed.splitlines() if line.count("|") >= N_FIELDS - 1]
        return {row.id: row for row in rows}

    def cancel_all(self) -> None:
        """Ends the run's jobs, also those that wait; raises SlurmSilentError."""
        command(["scancel", *self._filter])

    def stop(self, signal_name: str) -> None:
        """Cancels the jobs that wait and sends a signal to those that run; raises SlurmSilentError."""
        command(["scancel", "--state=PENDING", *self._filter])
        command(["scancel", "--state=RUNNING", f"--signal={signal_name}", *self._filter])


def cancel(ids: Iterable[str]) -> None:
    """Ends these jobs; that some are over, or unknown, is no fault. Raises SlurmSilentError."""
    try:
        command(["scancel", *ids])
    except SlurmSilentError as error:
        complaints = str(error).splitlines()
        if not all(_OVER.search(complaint) for complaint in complaints):
            raise


def ended(ids: Iterable[str]) -> dict[str, Row]:
    """Returns what the accounting knows of jobs that the queue has forgotten; nothing where there is none."""
    fields = "JobID,State,ExitCode,ElapsedRaw,NodeList"
    try:
        listed = command(["sacct", "-n", "-P", "-X", "-j", ",".join(ids), "-o", fields])
    except SlurmSilentError:
        return {}
    rows = {}
    for line in listed.splitlines():
        job_id, state, status, seconds, nodes = (*line.split("|"), "", "", "", "")[:5]
        code, _, number = status.partition(":")
        # "CANCELLED by 1000"
        rows[job_id] = Row(
            job_id, (state.split() or [""])[0], _int(code), _int(number), float(_int(seconds)), nodes, ""
        )
    return rows


def command(arguments: Sequence[str]) -> str:
    """Returns what a command of SLURM's printed; raises SlurmSilentError with what it complained of."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmSilentError(str(error)) from None
    if done.returncode:
        raise SlurmSilentError(done.stderr.strip() or f"{arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


def _row(line: str) -> Row:
    job_id, state, status, used, nodes, reason = (part.strip() for part in line.split("|")[:N_FIELDS])
    # As wait() gives it.
    number = _int(status)
    return Row(job_id, state, number >> 8, number & 0x7F, _seconds(used), nodes, reason)


def _seconds(text: str) -> float:
    """Returns the seconds of ``1-02:03:04``, or of the end of it."""
    days, _, rest = text.rpartition("-")
    seconds = 0
    for part in rest.split(":"):
        seconds = 60 * seconds + _int(part)
    return float(86400 * _int(days) + seconds)


def _int(text: str) -> int:
    return int(text) if re.fullmatch(r"\d+", text) else 0
