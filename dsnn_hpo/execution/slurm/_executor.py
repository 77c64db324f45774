"""The executor: one SLURM job an attempt at a trial, all of them watched by one thread."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnn_hpo.errors import ClusterError, DsnnHpoError, DsnnHpoWarning, TrialInterruptedError, WorkerLostError
from dsnn_hpo.execution._config import SlurmConfig
from dsnn_hpo.execution._protocol import Job
from dsnn_hpo.execution.slurm._commands import Queue, Row, SlurmSilentError, cancel, ended
from dsnn_hpo.execution.slurm._files import JobFiles
from dsnn_hpo.execution.slurm._job import STOP_SIGNAL, JobCall, Outcome
from dsnn_hpo.execution.slurm._request import job_name
from dsnn_hpo.execution.slurm._submission import NotSubmittedError, Submitter
from dsnn_hpo.execution.slurm._verdict import End, is_doubtful, is_held, never_starts

TICK_S = 0.25
BATCH_S = 0.5
"""So long a job waits for others that are ready, to be submitted in one array."""
MAX_ARRAY = 500
MIN_POLL_S, MAX_POLL_S = 1.0, 10.0
MAX_POLL_SHARE = 0.1
"""Of the time, spent by SLURM with answering."""
RESULT_PATIENCE_S = 30.0
"""A file that a job wrote may take so long to be seen on another machine."""
END_OF_PROCESS_S = 60.0
NEVER_PATIENCE_S = 60.0
DOUBT_PATIENCE_S = 600.0
SUBMIT_RETRY_S, MAX_SUBMIT_RETRY_S = 2.0, 60.0
LEFTOVERS_PATIENCE_S = 180.0
CLOSE_PATIENCE_S = 10.0


@dataclass(eq=False, slots=True)
class _Submitted:
    """A job under way; ``doubted_since`` and ``gone_since`` by the monotonic clock."""

    job: Job
    future: Future[Any]
    n_times_gone: int = 0
    gone_since: float = 0.0
    doubted_since: float | None = None


class SlurmExecutor:
    """Runs each job in a SLURM job of its own; at most ``config.workers`` at a time.

    All that jobs leave lies in the run folder, in ``jobs/``. Jobs that an earlier session left behind are ended first;
    results that they left are used. Requeued jobs, by SLURM after preemption or when a node failed, by themselves
    before their time is up, go on as the same job.

    Args:
        config: what to ask SLURM for.
        folder: the run folder, which all nodes share.

    Raises:
        ClusterError: jobs of an earlier session cannot be ended.
    """

    def __init__(self, config: SlurmConfig, folder: Path) -> None:
        # In a job, its variables would reach the jobs that it submits, and contradict their options.
        for variable in [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"]:
            del os.environ[variable]
        self._config = config
        self._files = JobFiles(folder)
        self._queue = Queue(job_name(folder))
        # Processes end a moment after their results are there; when that was, by the monotonic clock.
        self._done_at: dict[str, float] = {}
        self._kept = self._end_leftovers()
        self._submitter = Submitter(config, job_name(folder), self._files)
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Job, Future[Any], float]] = deque()
        self._submitted: dict[str, _Submitted] = {}
        self._closed = threading.Event()
        self._interrupted = False
        self._asked_to_stop = False
        self._poll_at = self._submit_at = 0.0
        self._submit_retry_s = SUBMIT_RETRY_S
        self._has_warned = False
        self._watcher = threading.Thread(target=self._watch, name="slurm", daemon=True)
        self._watcher.start()

    @property
    def n_workers(self) -> int:
        """Returns how many jobs run at the same time."""
        return self._config.workers

    def submit(self, job: Job) -> Future[Any]:
        """Returns the future result of the job; see ``Executor`` for what it fails with.

        Besides, ClusterError: SLURM refuses such jobs, or will never start them.
        """
        future: Future[Any] = Future()
        kept = self._kept.pop(job.id, None)
        if kept is not None and kept.argument == job.argument:
            future.set_result(kept.result)
            return future
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("the executor is closed")
            self._waiting.append((job, future, time.monotonic()))
        return future

    def interrupt(self) -> None:
        """Tells all jobs to stop; those that wait in the queue leave it."""
        self._files.stop.touch()
        self._interrupted = True
        self._poll_at = 0.0

    def close(self) -> None:
        """Cancels the jobs; those that did not end fail with WorkerLostError. Some may take a while to end."""
        with self._lock:
            self._closed.set()
        self._watcher.join()
        self._fail_all(WorkerLostError("its job was cancelled"))
        try:
            self._files.stop.touch()
            self._cancel_until_gone(CLOSE_PATIENCE_S)
        except (SlurmSilentError, OSError):
            # The next session does it.
            return
        self._files.forget_scripts()

    # What follows runs in the watcher's thread.

    def _watch(self) -> None:
        while not self._closed.wait(TICK_S):
            try:
                self._step()
            except (OSError, SlurmSilentError):
                # The folder or SLURM cannot be reached; they will.
                continue
            except Exception as error:  # noqa: BLE001 - would leave the driver waiting for ever
                self._fail_all(error)

    def _step(self) -> None:
        if self._interrupted:
            self._stop_jobs()
        self._submit_waiting()
        if not self._submitted:
            return
        for slurm_id in self._files.with_result() & self._submitted.keys():
            self._take_result(slurm_id)
        if self._submitted and time.monotonic() >= self._poll_at:
            self._poll()

    def _stop_jobs(self) -> None:
        while self._waiting:
            _, future, _ = self._waiting.popleft()
            future.set_exception(TrialInterruptedError("it had not begun"))
        if not self._asked_to_stop:
            try:
                self._queue.stop(STOP_SIGNAL.name.removeprefix("SIG"))
                self._asked_to_stop = True
            except SlurmSilentError:
                pass

    def _submit_waiting(self) -> None:
        now = time.monotonic()
        with self._lock:
            n_free = min(self._config.workers - len(self._submitted), MAX_ARRAY)
            is_batch = len(self._waiting) >= n_free or (self._waiting and now - self._waiting[0][2] >= BATCH_S)
            if not self._waiting or n_free <= 0 or not is_batch or now < self._submit_at:
                return
            batch = [self._waiting.popleft() for _ in range(min(n_free, len(self._waiting)))]
        limits, restarts = self._config.limits, self._config.attempts
        try:
            ids = self._submitter.submit([JobCall(job, self._files.stop, limits, restarts) for job, _, _ in batch])
        except NotSubmittedError as error:
            self._put_back(batch, str(error))
            return
        except Exception as error:  # noqa: BLE001 - handed on to whoever asks for the results
            for _, future, _ in batch:
                future.set_exception(error)
            return
        self._submit_retry_s = SUBMIT_RETRY_S
        for slurm_id, (job, future, _) in zip(ids, batch, strict=True):
            self._submitted[slurm_id] = _Submitted(job, future)
        self._poll_at = max(self._poll_at, time.monotonic() + MIN_POLL_S)

    def _put_back(self, batch: list[tuple[Job, Future[Any], float]], complaint: str) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(batch))
        self._submit_at = time.monotonic() + self._submit_retry_s
        self._submit_retry_s = min(2 * self._submit_retry_s, MAX_SUBMIT_RETRY_S)
        if self._submit_retry_s == MAX_SUBMIT_RETRY_S:
            self._warn(f"SLURM takes no jobs at the moment: {complaint}")
        # Some may have been taken all the same: without an owner they are cancelled by the next poll.
        self._poll_now_for_strays()

    def _poll_now_for_strays(self) -> None:
        try:
            self._cancel_strays(self._queue.rows())
        except SlurmSilentError:
            self._submit_at = time.monotonic() + MAX_SUBMIT_RETRY_S

    def _take_result(self, slurm_id: str) -> None:
        outcome: Outcome | None = None
        error: Exception | None
        try:
            outcome = self._files.outcome(slurm_id)
            error = outcome.error
        except OSError:
            # It is read again at the next step.
            raise
        except Exception as fault:  # noqa: BLE001 - handed on to whoever asks for the result
            error = fault if isinstance(fault, DsnnHpoError) else DsnnHpoError(f"its result cannot be read: {fault}")
        submitted = self._submitted.pop(slurm_id)
        self._done_at[slurm_id] = time.monotonic()
        if outcome is None:
            self._keep_errors(submitted.job, self._files.errors(slurm_id))
        self._files.forget(slurm_id)
        if submitted.future.done():
            return
        if error is not None:
            submitted.future.set_exception(error)
        else:
            submitted.future.set_result(outcome.result if outcome else None)

    def _poll(self) -> None:
        """Asks SLURM once for all jobs."""
        began = time.monotonic()
        try:
            rows = self._queue.rows()
        except SlurmSilentError:
            # Says nothing about the jobs; their results are seen all the same.
            self._poll_at = time.monotonic() + MAX_POLL_S
            return
        took_s = time.monotonic() - began
        pause_s = min(MAX_POLL_S, MIN_POLL_S + len(self._submitted) / 25)
        self._poll_at = time.monotonic() + max(pause_s, took_s / MAX_POLL_SHARE)
        self._cancel_strays(rows)
        self._end_lost([slurm_id for slurm_id in self._submitted if self._is_lost(slurm_id, rows.get(slurm_id))], rows)

    def _cancel_strays(self, rows: dict[str, Row]) -> None:
        """Cancels jobs that nobody waits for."""
        alive = {row.id for row in rows.values() if not row.is_over} - self._submitted.keys()
        self._done_at = {slurm_id: at for slurm_id, at in self._done_at.items() if slurm_id in alive}
        late = time.monotonic() - END_OF_PROCESS_S
        strays = [slurm_id for slurm_id in alive if self._done_at.get(slurm_id, 0.0) < late]
        if strays:
            cancel(strays)

    def _is_lost(self, slurm_id: str, row: Row | None) -> bool:
        submitted, now = self._submitted[slurm_id], time.monotonic()
        if row is not None and not row.is_over:
            submitted.n_times_gone = 0
            self._doubt(submitted, row)
            return is_held(row)
        if submitted.n_times_gone == 0:
            submitted.gone_since = now
        submitted.n_times_gone += 1
        # A job that is about to be requeued may look like one that is over; a result may be on its way.
        is_good = row is not None and row.state == "COMPLETED" and row.exit_code == 0
        patience_s = RESULT_PATIENCE_S if is_good else 0.0
        return submitted.n_times_gone >= 2 and now - submitted.gone_since >= patience_s

    def _doubt(self, submitted: _Submitted, row: Row) -> None:
        """Fails a job that will never start, and warns of one that may not."""
        if not (never_starts(row) or is_doubtful(row)):
            submitted.doubted_since = None
            return
        now = time.monotonic()
        submitted.doubted_since = submitted.doubted_since or now
        waited_s = now - submitted.doubted_since
        if never_starts(row) and waited_s >= NEVER_PATIENCE_S and not submitted.future.done():
            submitted.future.set_exception(
                ClusterError(f"SLURM will not start a job as the experiment's `execution` asks for it: {row.reason}")
            )
        elif is_doubtful(row) and waited_s >= DOUBT_PATIENCE_S:
            self._warn(f"a job waits for something that may not come by waiting: {row.reason}")

    def _end_lost(self, ids: list[str], rows: dict[str, Row]) -> None:
        lost = [slurm_id for slurm_id in ids if slurm_id not in self._files.with_result()]
        if not lost:
            return
        # None of them may begin again.
        cancel(lost)
        known = rows | ended([slurm_id for slurm_id in lost if slurm_id not in rows])
        for slurm_id in lost:
            submitted = self._submitted.pop(slurm_id)
            errors = self._files.errors(slurm_id)
            self._keep_errors(submitted.job, errors)
            error: Exception = End(slurm_id, known.get(slurm_id), errors).error(self._config)
            if self._interrupted and isinstance(error, WorkerLostError):
                error = TrialInterruptedError(f"it was told to stop, and then {error}")
            self._files.forget(slurm_id)
            if not submitted.future.done():
                submitted.future.set_exception(error)

    def _keep_errors(self, job: Job, errors: str) -> None:
        """Adds what the job printed, besides its trial, to the trial's log."""
        if errors.strip():
            with contextlib.suppress(OSError):
                job.log.parent.mkdir(parents=True, exist_ok=True)
                with job.log.open("a", encoding="utf-8") as log:
                    log.write(f"{errors.strip()}\n")

    def _fail_all(self, error: Exception) -> None:
        with self._lock:
            futures = [future for _, future, _ in self._waiting]
            futures += [submitted.future for submitted in self._submitted.values()]
            self._waiting.clear()
            self._submitted.clear()
        for future in futures:
            if not future.done():
                future.set_exception(error)

    def _warn(self, message: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(message, DsnnHpoWarning, stacklevel=2)

    # What follows runs while there is no watcher.

    def _end_leftovers(self) -> dict[str, Outcome]:
        """Ends the jobs that an earlier session left, and returns the results that they left, by our ids."""
        try:
            self._files.stop.touch()
            n_left = self._cancel_until_gone(LEFTOVERS_PATIENCE_S)
        except SlurmSilentError as error:
            raise ClusterError(f"SLURM does not say whether jobs of an earlier session are left: {error}") from None
        if n_left:
            raise ClusterError(
                f"{n_left} jobs of an earlier session, cancelled {LEFTOVERS_PATIENCE_S:g} s ago, have not ended; "
                "try again when they have (see squeue)"
            )
        kept = {}
        for slurm_id in self._files.with_result():
            try:
                outcome = self._files.outcome(slurm_id)
            except Exception:  # noqa: BLE001 - then it is run again
                continue
            if outcome.error is None:
                kept[outcome.job_id] = outcome
        self._files.forget_all()
        return kept

    def _cancel_until_gone(self, patience_s: float) -> int:
        """Returns how many of the run's jobs are left, ``patience_s`` from now at the latest; raises SlurmSilentError."""
        deadline = time.monotonic() + patience_s
        while True:
            left = {row.id for row in self._rows_patiently(deadline).values() if not row.is_over}
            if not left or time.monotonic() > deadline:
                return len(left)
            # Those whose results are there are about to end by themselves.
            if not left <= self._done_at.keys() or deadline - time.monotonic() < patience_s / 2:
                self._queue.cancel_all()
            time.sleep(MIN_POLL_S)

    def _rows_patiently(self, deadline: float) -> dict[str, Row]:
        while True:
            try:
                return self._queue.rows()
            except SlurmSilentError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(MIN_POLL_S)
