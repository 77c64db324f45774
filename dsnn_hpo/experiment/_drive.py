"""The loop of a run: ask, submit, tell, each recorded in the journal before anything is done about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from dsnn_hpo.errors import DsnnHpoError, JournalError
from dsnn_hpo.execution import Executor
from dsnn_hpo.experiment.config import BudgetConfig
from dsnn_hpo.journal import Asked, Event, History, Journal, Mark, MarkName, Told, now
from dsnn_hpo.optimizers import Optimizer
from dsnn_hpo.trial import Result, Trial, TrialState

POLL_S = 0.2
N_FAILURES_TO_GIVE_UP = 10


class Observer(Protocol):
    """Watches a run, e.g. to show or to mirror it; must return at once and never raise."""

    def update(self, history: History) -> None:
        """Sees the run as it stands after an event."""
        ...


class Driver:
    """Runs trials until the budget is spent; the only writer of the journal.

    Args:
        optimizer: proposes trials, in the state that the history left it in (see ``replay``).
        executor: runs them.
        evaluate: the target function of a trial, picklable.
        journal: where asked and told go.
        history: what the journal held when it was opened.
        observers: are shown the history after each event.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        executor: Executor,
        evaluate: Callable[[Trial], Result],
        journal: Journal,
        history: History,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._optimizer = optimizer
        self._executor = executor
        self._evaluate = evaluate
        self._journal = journal
        self._history = history
        self._observers = observers
        self._running: dict[Future[Result], Trial] = {}

    @property
    def history(self) -> History:
        """Returns the run as it stands."""
        return self._history

    def mark(self, name: MarkName, reason: str = "") -> None:
        """Records that the driver started, resumed or stopped."""
        self._record(Mark(name, now(), reason))

    def drive(self, budget: BudgetConfig, should_stop: Callable[[], bool]) -> None:
        """Runs until the budget is spent and no trial is left, or until ``should_stop``.

        Raises:
            DsnnHpoError: the first ten trials all failed; says why.
        """
        for trial in self._history.in_flight:
            self._submit(trial)
        while not should_stop():
            self._fill_workers(budget)
            if not self._running:
                return
            done, _ = wait(self._running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda f: self._running[f].id):
                self._tell(future)
            if done:
                self._give_up_if_hopeless()

    def _fill_workers(self, budget: BudgetConfig) -> None:
        while len(self._running) < self._executor.n_workers and spent(self._history, budget) < 1.0:
            trial = self._optimizer.ask()
            if trial is None:
                return
            self._record(Asked(trial, now()))
            self._submit(trial)

    def _submit(self, trial: Trial) -> None:
        self._running[self._executor.submit(self._evaluate, trial)] = trial

    def _tell(self, future: Future[Result]) -> None:
        trial = self._running.pop(future)
        try:
            result = future.result()
        except DsnnHpoError as error:
            result = Result(trial, TrialState.FAILED, error=str(error))
        self._record(Told(result, now()))
        self._optimizer.tell(result)

    def _record(self, event: Event) -> None:
        self._journal.append(event)
        self._history = History(self._history.header, (*self._history.events, event))
        for observer in self._observers:
            observer.update(self._history)

    def _give_up_if_hopeless(self) -> None:
        if len(self._history.results) >= N_FAILURES_TO_GIVE_UP:
            check_not_hopeless(self._history)


def check_not_hopeless(history: History) -> None:
    """Checks that a trial completed; raises DsnnHpoError with the most frequent reason if all of them failed."""
    results = history.results
    if any(r.state is TrialState.COMPLETED for r in results):
        return
    reasons = [r.error or "" for r in results]
    why = f"all of the first {len(results)} trials failed; most often: {max(reasons, key=reasons.count)}"
    raise DsnnHpoError(why if results else "the optimizer proposed no trial")


def replay(optimizer: Optimizer, history: History, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Brings a fresh optimizer into the state of a run, by asking and telling it all that the journal holds, in order.

    Args:
        optimizer: a new one.
        history: the run.
        should_stop: asked between events; replaying a model's proposals takes a while.

    Raises:
        JournalError: the optimizer proposed something else than it did then (another version of a library?).
    """
    for event in history.events:
        if should_stop():
            return
        match event:
            case Asked(trial):
                again = optimizer.ask()
                if again != trial:
                    raise JournalError(
                        f"trial {trial.id} cannot be replayed: the optimizer now proposes {again} where the journal has "
                        f"{trial}; the run was made with {dict(history.header.versions)}"
                    )
            case Told(result):
                optimizer.tell(result)
            case Mark():
                pass


def spent(history: History, budget: BudgetConfig) -> float:
    """Returns the share of the budget that is spent or promised to trials in flight: 1 or more means no new trials."""
    shares = [0.0]
    if budget.trials is not None:
        n_asked = sum(isinstance(event, Asked) for event in history.events)
        shares.append(n_asked / budget.trials)
    if budget.full_trainings is not None:
        shares.append(n_epochs_promised(history) / (budget.full_trainings * history.header.fidelity.max_epochs))
    if budget.wall_time_s is not None:
        shares.append(_running_s(history) / budget.wall_time_s)
    return max(shares)


def n_epochs_promised(history: History) -> int:
    """Returns the epochs trained so far and those that trials in flight will train, continuing where they can."""
    reached: dict[str, int] = {}
    n_epochs = 0
    for result in history.results:
        n_epochs += result.n_epochs
        if result.state is TrialState.COMPLETED:
            reached[result.trial.key] = max(reached.get(result.trial.key, 0), result.trial.fidelity)
    for trial in history.in_flight:
        # A configuration may have a cap of its own (see the hyperparameter `epochs`).
        n_target = min(trial.fidelity, int(trial.config.get("epochs", trial.fidelity)))
        n_epochs += n_target - min(reached.get(trial.key, 0), n_target)
    return n_epochs


def _running_s(history: History) -> float:
    # The history ends at its last event; time has passed since.
    since = max(0.0, now() - history.events[-1].time) if history.events else 0.0
    return history.running_s + since
