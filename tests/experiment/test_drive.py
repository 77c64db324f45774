"""The loop, with an executor that runs trials at once and an optimizer that counts."""

from __future__ import annotations

import time
from concurrent.futures import Future

import pytest

from dsnn_hpo.errors import DsnnHpoError, JournalError, WorkerError
from dsnn_hpo.experiment import Driver, replay, spent
from dsnn_hpo.experiment.config import BudgetConfig
from dsnn_hpo.journal import Asked, Header, History, Journal, Mark, Told, read
from dsnn_hpo.trial import Fidelity, Result, Trial, TrialState

HEADER = Header("r", "n", 0.0, {}, "", ("error",), Fidelity(1, 9, 3), {"smac": "2.4.1"})


class CountingOptimizer:
    """Proposes n = 0, 1, 2, ... and remembers what it was told."""

    def __init__(self, n_proposals: int = 1000, first: int = 0) -> None:
        self.n_asked, self.n_proposals, self.first = 0, n_proposals, first
        self.told: list[Result] = []

    def ask(self) -> Trial | None:
        if self.n_asked >= self.n_proposals:
            return None
        self.n_asked += 1
        number = self.n_asked - 1
        return Trial(number, {"n": number + self.first}, 9, seed=0)

    def tell(self, result: Result) -> None:
        self.told.append(result)


class InlineExecutor:
    """Runs calls at once, in this process."""

    def __init__(self, n_workers: int = 1) -> None:
        self.n_workers = n_workers

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except DsnnHpoError as error:
            future.set_exception(error)
        return future

    def close(self, *, wait: bool) -> None:
        pass


def good(trial: Trial) -> Result:
    return Result(trial, TrialState.COMPLETED, values={"error": 0.1}, n_epochs=trial.fidelity)


def bad(trial: Trial) -> Result:
    return Result(trial, TrialState.FAILED, error="diverged")


def dying(trial: Trial) -> Result:
    raise WorkerError("the worker process died of SIGKILL")


@pytest.fixture
def journal(tmp_path):
    with Journal.create(tmp_path / "journal.jsonl", HEADER) as journal:
        yield journal


@pytest.fixture
def drive(journal):
    """Returns a function that drives to the end and returns the driver."""

    def run(budget, evaluate=good, optimizer=None, n_workers=1, history=None, should_stop=lambda: False):
        optimizer = optimizer or CountingOptimizer()
        driver = Driver(optimizer, InlineExecutor(n_workers), evaluate, journal, history or History(HEADER, ()))
        driver.drive(budget, should_stop)
        return driver

    return run


@pytest.mark.parametrize("n_workers", [1, 3])
def test_budget_of_trials_is_met_exactly(drive, n_workers):
    driver = drive(BudgetConfig(trials=7), n_workers=n_workers)
    assert len(driver.history.results) == 7
    assert driver.history.in_flight == []


def test_budget_of_full_trainings_counts_epochs(drive):
    assert len(drive(BudgetConfig(full_trainings=2.5)).history.results) == 3


def test_budget_of_wall_time_ends_the_run(drive):
    def slow(trial):
        time.sleep(0.05)
        return good(trial)

    started = time.monotonic()
    driver = drive(BudgetConfig(wall_time_s=0.5), slow)
    assert 0.5 <= time.monotonic() - started < 5
    assert 2 <= len(driver.history.results) <= 11


def test_the_first_budget_to_be_spent_ends_the_run(drive):
    assert len(drive(BudgetConfig(trials=5, full_trainings=100, wall_time_s=1e6)).history.results) == 5


def test_everything_is_journalled_before_the_optimizer_learns_it(journal, tmp_path):
    class Watching(CountingOptimizer):
        def tell(self, result):
            assert read(tmp_path / "journal.jsonl").events[-1] == Told(result, pytest.approx(time.time(), abs=60))
            super().tell(result)

    optimizer = Watching()
    Driver(optimizer, InlineExecutor(), good, journal, History(HEADER, ())).drive(BudgetConfig(trials=3), lambda: False)
    assert [r.trial.id for r in optimizer.told] == [0, 1, 2]


def test_an_exhausted_optimizer_ends_the_run(drive):
    assert len(drive(BudgetConfig(trials=100), optimizer=CountingOptimizer(n_proposals=4)).history.results) == 4


def test_a_dead_worker_is_a_failed_trial(drive):
    def sometimes(trial):
        return dying(trial) if trial.id == 1 else good(trial)

    results = drive(BudgetConfig(trials=3), sometimes).history.results
    assert [r.state for r in results] == [TrialState.COMPLETED, TrialState.FAILED, TrialState.COMPLETED]
    assert "SIGKILL" in results[1].error


def test_a_hopeless_run_ends_early_and_says_why(drive):
    with pytest.raises(DsnnHpoError, match=r"first 10 trials failed.*diverged"):
        drive(BudgetConfig(trials=1000), bad)


def test_trials_in_flight_run_first_when_resumed(drive):
    trials = [Trial(i, {"n": i}, 9, seed=0) for i in range(3)]
    events = (*(Asked(t, 1.0) for t in trials), Told(good(trials[1]), 2.0))
    optimizer = CountingOptimizer()
    history = History(HEADER, events)
    replay(optimizer, history)
    driver = drive(BudgetConfig(trials=4), optimizer=optimizer, history=history)
    assert sorted(r.trial.id for r in driver.history.results) == [0, 1, 2, 3]


def test_stopping_leaves_trials_in_flight(drive):
    stop = iter([False, False, True])
    driver = drive(BudgetConfig(trials=100), should_stop=lambda: next(stop))
    assert len(driver.history.results) == 2


def test_observers_see_each_event(journal):
    seen = []

    class Observer:
        def update(self, history):
            seen.append(history.events[-1])

    driver = Driver(CountingOptimizer(), InlineExecutor(), good, journal, History(HEADER, ()), [Observer()])
    driver.mark("started")
    driver.drive(BudgetConfig(trials=1), lambda: False)
    assert [type(event) for event in seen] == [Mark, Asked, Told]


def test_replay_refuses_an_optimizer_that_proposes_something_else():
    events = (Asked(Trial(0, {"n": 0}, 9, seed=0), 1.0),)
    with pytest.raises(JournalError, match=r"trial 0 cannot be replayed.*smac"):
        replay(CountingOptimizer(first=5), History(HEADER, events))


def test_budget_spent_counts_promises_and_continuations():
    first = Trial(0, {"n": 0}, 3, seed=0)
    second = Trial(1, {"n": 0}, 9, seed=0)
    events = (Asked(first, 1.0), Told(good(first), 2.0), Asked(second, 3.0))
    history = History(HEADER, events)
    # 3 epochs done; the promoted configuration pays 6 more.
    assert spent(history, BudgetConfig(full_trainings=2)) == pytest.approx(9 / 18)
    assert spent(history, BudgetConfig(trials=4)) == pytest.approx(0.5)
    assert spent(History(HEADER, ()), BudgetConfig(trials=4)) == 0.0
