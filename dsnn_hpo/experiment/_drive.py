"""The loop of a run: ask, submit, tell, each recorded in the journal before anything is done about it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from dsnn_hpo.errors import DsnnHpoError, JournalError
from dsnn_hpo.experiment._attempts import Attempt, LostAttempt, Workplace
from dsnn_hpo.experiment.config import BudgetConfig
from dsnn_hpo.journal import Asked, Event, History, Journal, Lost, Mark, MarkName, Measured, Told, now
from dsnn_hpo.optimizers import Optimizer, RecallingOptimizer
from dsnn_hpo.trial import Result, Trial, TrialState

POLL_S = 0.2
STOP_GRACE_S = 15.0
KEEP_EVERY_N_EVENTS = 1000
FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 60.0
N_FAILURES_TO_GIVE_UP = 10
J_PER_WH = 3600.0


class Observer(Protocol):
    """Watches a run, e.g. to show or to mirror it; must return at once and never raise."""

    def update(self, history: History) -> None:
        """Sees the run as it stands after an event."""
        ...


class Driver:
    """Runs trials until the budget is spent; the only writer of the journal.

    Args:
        optimizer: proposes trials, in the state that the history left it in (see ``replay``).
        workplace: evaluates them.
        journal: where asked, lost and told go.
        history: what the journal held when it was opened.
        observers: are shown the history after each event.
        keep: is given the optimizer and the history that it knows, every ``KEEP_EVERY_N_EVENTS`` events or more.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        workplace: Workplace,
        journal: Journal,
        history: History,
        observers: Sequence[Observer] = (),
        keep: Callable[[Optimizer, History], None] | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._workplace = workplace
        self._journal = journal
        self._history = history
        self._observers = observers
        self._keep = keep
        self._n_kept = len(history.events)
        self._running: dict[Future[Result], Attempt] = {}
        self._again: list[tuple[float, Trial, int]] = []
        self._n_alike = 0
        self._last_failure = ""
        self._seconds, self._energy_j = 0.0, 0.0

    @property
    def history(self) -> History:
        """Returns the run as it stands."""
        return self._history

    def mark(self, name: MarkName, reason: str = "", energy_j: float = 0.0) -> None:
        """Records that the driver started, resumed or stopped, and the joules that it took itself since it began."""
        self.record(Mark(name, now(), reason, energy_j))

    def drive(self, budget: BudgetConfig, should_stop: Callable[[], bool]) -> None:
        """Runs until the budget is spent and no trial is left, or until ``should_stop``.

        Then no new trials begin; those that run are given ``STOP_GRACE_S`` to keep a checkpoint, or to end.

        Raises:
            DsnnHpoError: ten trials in a row failed alike, or the first ten all failed; says why.
        """
        for result in self._history.results:
            self._weigh(result)
        for waiting in self._history.in_flight:
            self._submit(waiting.trial, waiting.n_lost + 1)
        while not should_stop():
            self._keep_optimizer()
            self._try_again_when_due()
            self._fill_workers(budget)
            if not self._running and not self._again:
                return
            if self._take_what_ended(POLL_S):
                self._give_up_if_hopeless()
        self._workplace.executor.interrupt()
        deadline = time.monotonic() + STOP_GRACE_S
        while self._running and (left_s := deadline - time.monotonic()) > 0:
            self._take_what_ended(left_s)

    def _keep_optimizer(self) -> None:
        # It costs more the more it knows.
        due = self._n_kept + max(KEEP_EVERY_N_EVENTS, self._n_kept // 8)
        if self._keep is not None and len(self._history.events) >= due:
            self._keep(self._optimizer, self._history)
            self._n_kept = len(self._history.events)

    def _fill_workers(self, budget: BudgetConfig) -> None:
        n_workers = self._workplace.executor.n_workers
        while len(self._running) + len(self._again) < n_workers and spent(self._history, budget) < 1.0:
            trial = self._optimizer.ask()
            if trial is None:
                return
            self.record(Asked(trial, now()))
            self._submit(trial, 1)

    def _submit(self, trial: Trial, number: int) -> None:
        attempt = Attempt(trial, number, time.monotonic())
        self._running[self._workplace.submit(attempt)] = attempt

    def _take_what_ended(self, timeout_s: float) -> int:
        """Returns how many attempts ended, ``timeout_s`` from now at the latest, after recording what came of them."""
        if not self._running:
            time.sleep(timeout_s)
        done, _ = wait(self._running, timeout=timeout_s, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda f: self._running[f].trial.id):
            attempt = self._running.pop(future)
            match self._workplace.outcome(attempt, future):
                case Result() as result:
                    self._tell(result)
                case LostAttempt() as lost:
                    self._lose(attempt, lost)
                case None:
                    # It stays in flight, for the next session.
                    pass
        return len(done)

    def _tell(self, result: Result) -> None:
        self.record(Told(result, now()))
        self._weigh(result)
        self._optimizer.tell(result)

    def _weigh(self, result: Result) -> None:
        self._seconds += result.seconds
        self._energy_j += result.energy_j
        failure = re.sub(r"\d+", "", result.error or "")
        self._n_alike = self._n_alike + 1 if failure and failure == self._last_failure else 1
        self._last_failure = failure

    def _lose(self, attempt: Attempt, lost: LostAttempt) -> None:
        # Nobody was left to measure it: as long a time of the run's mean power.
        energy_j = lost.seconds * self._energy_j / self._seconds if self._seconds else 0.0
        trial, number = attempt.trial, attempt.number
        self.record(Lost(trial, number, lost.reason, lost.seconds, energy_j, now()))
        # What made a worker die, a full disk for instance, may take a while to pass.
        due = time.monotonic() + min(FIRST_RETRY_S * 4 ** (number - 1), LONGEST_RETRY_S)
        self._again.append((due, trial, number + 1))

    def _try_again_when_due(self) -> None:
        due = [waiting for waiting in self._again if waiting[0] <= time.monotonic()]
        self._again = [waiting for waiting in self._again if waiting not in due]
        for _, trial, number in due:
            self._submit(trial, number)

    def record(self, event: Event) -> None:
        """Writes an event into the journal and shows it to the observers."""
        self._journal.append(event)
        self._history = self._history.extended(event)
        for observer in self._observers:
            observer.update(self._history)

    def _give_up_if_hopeless(self) -> None:
        n_results = len(self._history.results)
        if n_results == N_FAILURES_TO_GIVE_UP:
            check_not_hopeless(self._history)
        if self._last_failure and self._n_alike >= N_FAILURES_TO_GIVE_UP:
            why = self._history.results[-1].error
            raise DsnnHpoError(
                f"the last {self._n_alike} trials all failed alike: {why}; mend that, then resume the run"
            )


def check_not_hopeless(history: History) -> None:
    """Checks that a trial completed; raises DsnnHpoError with the most frequent reason if all of them failed."""
    results = history.results
    if any(r.state is TrialState.COMPLETED for r in results):
        return
    reasons = [r.error or "" for r in results]
    why = f"all of the first {len(results)} trials failed; most often: {max(reasons, key=reasons.count)}"
    raise DsnnHpoError(why if results else "the optimizer proposed no trial")


def replay(
    optimizer: Optimizer, history: History, should_stop: Callable[[], bool] = lambda: False, n_known: int = 0
) -> None:
    """Brings an optimizer into the state of a run, by asking and telling it all that the journal holds, in order.

    An optimizer that can recall a trial need not propose it again, so that hardly any time passes.

    Args:
        optimizer: a new one, or one that knows the first events already.
        history: the run.
        should_stop: asked between events; replaying a model's proposals takes a while.
        n_known: how many events it knows.

    Raises:
        JournalError: the optimizer proposed something else than it did then (another version of a library?), or the
            trials are none of its search space.
    """
    for event in history.events[n_known:]:
        if should_stop():
            return
        match event:
            case Asked(trial) if isinstance(optimizer, RecallingOptimizer):
                _recall(optimizer, trial)
            case Asked(trial):
                again = optimizer.ask()
                if again != trial:
                    raise JournalError(
                        f"trial {trial.id} cannot be replayed: the optimizer now proposes {again} where the journal has "
                        f"{trial}; the run was made with {dict(history.header.versions)}"
                    )
            case Told(result):
                optimizer.tell(result)
            case Lost() | Measured() | Mark():
                pass


def _recall(optimizer: RecallingOptimizer, trial: Trial) -> None:
    try:
        optimizer.recall(trial)
    except ValueError as error:
        raise JournalError(
            f"trial {trial.id} cannot be recalled, the search space is another than it was: {error}"
        ) from error


def spent(history: History, budget: BudgetConfig) -> float:
    """Returns the share of the budget that is spent or promised to trials in flight: 1 or more means no new trials."""
    shares = [0.0]
    if budget.trials is not None:
        shares.append(history.n_asked / budget.trials)
    if budget.full_trainings is not None:
        # Those in flight will go on from where their configurations are.
        n_epochs = history.n_epochs + sum(waiting.n_epochs_promised for waiting in history.in_flight)
        shares.append(n_epochs / (budget.full_trainings * history.header.fidelity.max_epochs))
    if budget.wall_time_s is not None:
        shares.append(_running_s(history) / budget.wall_time_s)
    if budget.energy_wh is not None:
        shares.append((history.energy_j + _promised_j(history)) / (J_PER_WH * budget.energy_wh))
    return max(shares)


def _promised_j(history: History) -> float:
    """Returns what the trials in flight will take, at the run's mean energy an epoch."""
    n_promised = sum(waiting.n_epochs_promised for waiting in history.in_flight)
    return n_promised * history.energy_j / history.n_epochs if history.n_epochs else 0.0


def _running_s(history: History) -> float:
    # The history ends at its last event; time has passed since.
    since = max(0.0, now() - history.events[-1].time) if history.events else 0.0
    return history.running_s + since
