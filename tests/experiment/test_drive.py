"""The loop, with an executor that runs trials at once and an optimizer that counts."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace

import pytest

from dsnn_hpo.errors import (
    DsnnHpoError,
    JournalError,
    MemoryLimitError,
    TimeLimitError,
    TrialInterruptedError,
    WorkerLostError,
)
from dsnn_hpo.experiment import Driver, Workplace, replay, spent
from dsnn_hpo.experiment.config import BudgetConfig
from dsnn_hpo.journal import Asked, Header, History, Journal, Lost, Mark, Measured, Told, read
from dsnn_hpo.trial import FailureCause, Fidelity, Result, Trial, TrialState

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
        self.n_workers, self.interrupted = n_workers, False

    def submit(self, job):
        future = Future()
        try:
            future.set_result(job.function(job.argument, lambda: self.interrupted))
        except DsnnHpoError as error:
            future.set_exception(error)
        return future

    def interrupt(self) -> None:
        self.interrupted = True

    def close(self) -> None:
        pass


def good(trial: Trial, should_stop=None) -> Result:
    return Result(trial, TrialState.COMPLETED, values={"error": 0.1}, n_epochs=trial.fidelity)


def bad(trial: Trial, should_stop=None) -> Result:
    return Result(trial, TrialState.FAILED, error="diverged")


def dying(trial: Trial, should_stop=None) -> Result:
    raise WorkerLostError("the worker process died of SIGKILL")


@pytest.fixture
def journal(tmp_path):
    with Journal.create(tmp_path / "journal.jsonl", HEADER) as journal:
        yield journal


@pytest.fixture
def drive(journal, tmp_path):
    """Returns a function that drives to the end and returns the driver."""

    def run(
        budget, evaluate=good, optimizer=None, n_workers=1, history=None, should_stop=lambda: False, max_attempts=3
    ):
        optimizer = optimizer or CountingOptimizer()
        workplace = Workplace(InlineExecutor(n_workers), evaluate, tmp_path, max_attempts)
        driver = Driver(optimizer, workplace, journal, history or History(HEADER))
        driver.drive(budget, should_stop)
        return driver

    return run


@pytest.mark.parametrize("n_workers", [1, 3])
def test_budget_of_trials_is_met_exactly(drive, n_workers):
    driver = drive(BudgetConfig(trials=7), n_workers=n_workers)
    assert len(driver.history.results) == 7
    assert driver.history.in_flight == ()


def test_budget_of_full_trainings_counts_epochs(drive):
    assert len(drive(BudgetConfig(full_trainings=2.5)).history.results) == 3


def test_budget_of_wall_time_ends_the_run(drive):
    def slow(trial, should_stop):
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
    driver = Driver(optimizer, Workplace(InlineExecutor(), good, tmp_path, 1), journal, History(HEADER))
    driver.drive(BudgetConfig(trials=3), lambda: False)
    assert [r.trial.id for r in optimizer.told] == [0, 1, 2]


def test_an_exhausted_optimizer_ends_the_run(drive):
    assert len(drive(BudgetConfig(trials=100), optimizer=CountingOptimizer(n_proposals=4)).history.results) == 4


def test_a_trial_whose_worker_was_lost_is_tried_again(drive, journal, tmp_path):
    tries = []

    def sometimes(trial, should_stop):
        tries.append(trial.id)
        return dying(trial) if trial.id == 1 and tries.count(1) < 3 else good(trial)

    history = drive(BudgetConfig(trials=3), sometimes).history
    assert [(r.trial.id, r.state) for r in history.results] == [(i, TrialState.COMPLETED) for i in range(3)]
    assert tries == [0, 1, 1, 1, 2]
    lost = [e for e in read(tmp_path / "journal.jsonl").events if isinstance(e, Lost)]
    assert [(e.trial.id, e.attempt) for e in lost] == [(1, 1), (1, 2)]
    assert "SIGKILL" in lost[0].reason
    assert history.n_lost == 2


def test_a_trial_that_is_lost_too_often_has_failed(drive):
    def sometimes(trial, should_stop):
        return dying(trial) if trial.id == 1 else good(trial)

    results = drive(BudgetConfig(trials=3), sometimes).history.results
    assert [r.state for r in results] == [TrialState.COMPLETED, TrialState.FAILED, TrialState.COMPLETED]
    assert results[1].cause is FailureCause.LOST
    assert "lost 3 times" in results[1].error
    assert "SIGKILL" in results[1].error


@pytest.mark.parametrize(
    ("error", "cause"),
    [(MemoryLimitError, FailureCause.OUT_OF_MEMORY), (TimeLimitError, FailureCause.TIME_LIMIT)],
)
def test_a_trial_that_took_too_much_has_failed_at_once(drive, error, cause):
    def greedy(trial, should_stop):
        raise error("too much")

    (result, *_) = drive(BudgetConfig(trials=2), lambda t, s: greedy(t, s) if t.id == 0 else good(t)).history.results
    assert (result.state, result.cause, result.error) == (TrialState.FAILED, cause, "too much")


def test_what_a_failed_attempt_kept_is_paid_for(drive, tmp_path):
    def greedy(trial, should_stop):
        if trial.id:
            return good(trial)
        (tmp_path / "progress").mkdir()
        (tmp_path / "progress" / "00000.json").write_text('{"n_epochs": 3, "energy_j": 2.5, "epoch": 4}')
        raise MemoryLimitError("too much")

    history = drive(BudgetConfig(trials=2), greedy).history
    assert (history.results[0].n_epochs, history.results[0].energy_j) == (3, 2.5)
    assert (history.n_epochs, history.energy_j) == (12, 2.5)


def test_lost_time_is_billed_at_the_mean_power_of_the_run(drive):
    def sometimes(trial, should_stop):
        tries.append(trial.id)
        if trial.id == 1 and tries.count(1) == 1:
            time.sleep(0.2)
            return dying(trial)
        return replace(good(trial), seconds=10.0, energy_j=50.0)

    tries = []
    history = drive(BudgetConfig(trials=2), sometimes).history
    (lost,) = (e for e in history.events if isinstance(e, Lost))
    assert 0.2 <= lost.seconds < 5
    assert lost.energy_j == pytest.approx(5.0 * lost.seconds)
    assert history.energy_j == pytest.approx(100.0 + lost.energy_j)


def test_a_failed_trial_has_the_last_lines_of_its_log(drive, tmp_path):
    def failing(trial, should_stop):
        (tmp_path / "logs").mkdir(exist_ok=True)
        (tmp_path / "logs" / f"{trial.id:05d}.log").write_text("\n".join(f"line {i}" for i in range(100)))
        return bad(trial) if trial.id == 0 else good(trial)

    failed, completed = drive(BudgetConfig(trials=2), failing).history.results
    assert failed.log == "logs/00000.log"
    assert failed.log_tail.splitlines() == [f"line {i}" for i in range(88, 100)]
    assert (completed.log, completed.log_tail) == ("logs/00001.log", "")


def test_ten_failures_alike_in_a_row_end_the_run(drive):
    def later(trial, should_stop):
        if trial.id < 5:
            return good(trial)
        return Result(trial, TrialState.FAILED, error=f"[Errno 2] no such file: /data/{trial.id}")

    with pytest.raises(DsnnHpoError, match=r"last 10 trials all failed alike: .*no such file"):
        drive(BudgetConfig(trials=1000), later)


def test_failures_of_different_kinds_do_not_end_the_run(drive):
    def later(trial, should_stop):
        return good(trial) if trial.id == 0 else Result(trial, TrialState.FAILED, error="ab"[trial.id % 2])

    assert len(drive(BudgetConfig(trials=30), later).history.results) == 30


def test_a_trial_that_was_interrupted_stays_in_flight(drive):
    stop = iter([False, True])

    def interrupted(trial, should_stop):
        raise TrialInterruptedError("stopped after epoch 3")

    history = drive(BudgetConfig(trials=5), interrupted, should_stop=lambda: next(stop)).history
    assert [waiting.trial.id for waiting in history.in_flight] == [0]
    assert not history.results


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


def test_observers_see_each_event(journal, tmp_path):
    seen = []

    class Observer:
        def update(self, history):
            seen.append(history.events[-1])

    workplace = Workplace(InlineExecutor(), good, tmp_path, 1)
    driver = Driver(CountingOptimizer(), workplace, journal, History(HEADER), [Observer()])
    driver.mark("started")
    driver.drive(BudgetConfig(trials=1), lambda: False)
    assert [type(event) for event in seen] == [Mark, Asked, Told]


def test_replay_refuses_an_optimizer_that_proposes_something_else():
    events = (Asked(Trial(0, {"n": 0}, 9, seed=0), 1.0),)
    with pytest.raises(JournalError, match=r"trial 0 cannot be replayed.*smac"):
        replay(CountingOptimizer(first=5), History(HEADER, events))


class RecallingOptimizer(CountingOptimizer):
    def ask(self):
        pytest.fail("asked")

    def recall(self, trial):
        if trial.config["n"] > 5:
            raise ValueError("n is too large")
        self.recalled = trial


def test_an_optimizer_that_recalls_is_not_asked():
    trial = Trial(0, {"n": 3}, 9, seed=0)
    optimizer = RecallingOptimizer()
    replay(optimizer, History(HEADER, (Asked(trial, 1.0),)))
    assert optimizer.recalled == trial
    with pytest.raises(JournalError, match=r"trial 0 cannot be recalled.*n is too large"):
        replay(optimizer, History(HEADER, (Asked(Trial(0, {"n": 7}, 9, seed=0), 1.0),)))


def test_budget_of_energy_ends_the_run(drive):
    def costly(trial, should_stop):
        return replace(good(trial), energy_j=30.0, measuring_energy_j=6.0)

    driver = drive(BudgetConfig(energy_wh=0.1), costly)
    # 36 J each, of 360.
    assert len(driver.history.results) == 10
    assert driver.history.energy_j == 360.0


def test_energy_spent_counts_training_measuring_lost_attempts_the_driver_and_promises():
    first, second = (Trial(n, {"n": n}, 9, seed=0) for n in range(2))
    told = replace(good(first), energy_j=200.0, measuring_energy_j=16.0)
    history = History(HEADER, (Asked(first, 1.0), Told(told, 2.0)))
    assert spent(history, BudgetConfig(energy_wh=0.1)) == pytest.approx(216 / 360)
    lost = Lost(second, 1, "killed", 1.0, 24.0, 4.0)
    history = history.extended(Asked(second, 3.0)).extended(lost)
    # The one in flight will take as much as an epoch has taken so far, nine times.
    assert spent(history, BudgetConfig(energy_wh=0.1)) == pytest.approx((216 + 24) * 2 / 360)
    history = history.extended(Told(bad(second), 5.0)).extended(Measured(first, {"error": 0.1}, {}, 50.0, 6.0))
    history = history.extended(Mark("interrupted", 7.0, energy_j=10.0))
    assert spent(history, BudgetConfig(energy_wh=0.1)) == pytest.approx((216 + 24 + 50 + 10) / 360)
    assert spent(History(HEADER), BudgetConfig(energy_wh=0.1)) == 0.0


def test_budget_spent_counts_promises_and_continuations():
    first = Trial(0, {"n": 0}, 3, seed=0)
    second = Trial(1, {"n": 0}, 9, seed=0)
    events = (Asked(first, 1.0), Told(good(first), 2.0), Asked(second, 3.0))
    history = History(HEADER, events)
    # 3 epochs done; the promoted configuration pays 6 more.
    assert spent(history, BudgetConfig(full_trainings=2)) == pytest.approx(9 / 18)
    assert spent(history, BudgetConfig(trials=4)) == pytest.approx(0.5)
    assert spent(History(HEADER), BudgetConfig(trials=4)) == 0.0
