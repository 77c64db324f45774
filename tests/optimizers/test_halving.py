from __future__ import annotations

import heapq

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, UniformFloatHyperparameter

from dsnn_hpo.optimizers import AshaConfig, make_optimizer
from dsnn_hpo.optimizers._halving import Ladder, Promotion, best_first
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import VectorSpace
from dsnn_hpo.trial import Fidelity, Objective, Result, Trial, TrialState

OBJECTIVES = (Objective("a", "minimize", "", ""), Objective("b", "minimize", "", ""))


@pytest.fixture
def trials():
    space = ConfigurationSpace()
    space.add(UniformFloatHyperparameter("x", 0.0, 1.0))
    return Trials(VectorSpace(space), OBJECTIVES, seed=0)


def run(trials, x, fidelity, a, b=None):
    trial = Trial(trials.n_asked, {"x": x}, fidelity, 0)
    trials.asked(trial)
    if a is None:
        trials.told(Result(trial, TrialState.FAILED, error="diverged"))
    else:
        trials.told(Result(trial, TrialState.COMPLETED, {"a": a, "b": a if b is None else b}))


def test_fronts_come_one_after_the_other_and_the_crowded_last():
    losses = np.asarray([[0, 4], [1, 1], [1.1, 0.9], [4, 0], [5, 5]], dtype=float)
    order = best_first(losses, 5)
    assert set(order[:2]) == {0, 3}
    assert order[-1] == 4


def test_of_one_objective_the_best_come_first_however_many():
    losses = np.random.default_rng(0).permutation(3000).astype(float)[:, None]
    assert losses[best_first(losses, 1000), 0].tolist() == list(range(1000))


def test_one_in_eta_is_promoted_as_soon_as_it_can_be(trials):
    ladder = Ladder((1, 3, 9), eta=3)
    for n, a in enumerate([0.5, 0.2, 0.9]):
        assert ladder.promotion(trials) is None
        run(trials, 0.1 * n, 1, a)
    promotion = ladder.promotion(trials)
    assert (promotion.index, promotion.fidelity) == (1, 3)
    run(trials, 0.1, 3, 0.1)
    assert ladder.promotion(trials) is None


def test_who_is_in_flight_or_failed_is_not_promoted(trials):
    ladder = Ladder((1, 3), eta=2)
    for n, a in enumerate([0.1, 0.2, 0.3, None]):
        run(trials, 0.1 * n, 1, a)
    # A failure counts as one of the rung that was worse than all.
    assert ladder.promotion(trials).index == 0
    trials.asked(Trial(4, {"x": 0.0}, 3, 0))
    assert ladder.promotion(trials).index == 1
    run(trials, 0.1, 3, None)
    assert ladder.promotion(trials) is None


def test_the_highest_rung_comes_first(trials):
    ladder = Ladder((1, 3, 9), eta=2)
    for n in range(8):
        run(trials, 0.1 * n, 1, 0.1 * n)
    for n in range(2):
        run(trials, 0.1 * n, 3, 0.1 * n)
    assert ladder.promotion(trials).fidelity == 9


def test_brackets_get_their_share(trials):
    ladder = Ladder((1, 3, 9), eta=3, n_brackets=3)
    starts = []
    for n in range(17):
        starts.append(ladder.start(trials))
        run(trials, 0.05 * n, starts[-1], 0.5)
    # Hyperband begins 9, 5 and 3 configurations.
    assert [starts.count(rung) for rung in (1, 3, 9)] == [9, 5, 3]


def test_without_new_configurations_the_best_that_waits_goes_on(trials):
    ladder = Ladder((1, 3), eta=4)
    run(trials, 0.1, 1, 0.7)
    run(trials, 0.2, 1, 0.3)
    assert ladder.promotion(trials) is None
    assert ladder.any_promotion(trials).index == 1


def test_with_many_in_flight_rungs_are_leapt_over(trials):
    ladder = Ladder((1, 3, 9), eta=3)
    for n in range(9):
        run(trials, 0.01 * n, 1, 0.1 * n)
    assert ladder.promotion(trials) == Promotion(0, 3)
    for n in range(9):
        trials.asked(Trial(trials.n_asked, {"x": 0.5 + 0.01 * n}, 1, 0))
    assert ladder.promotion(trials) == Promotion(0, 9)
    trials.asked(Trial(trials.n_asked, {"x": 0.0}, 9, 0))
    # One of nine went to the end; the next goes on a rung at a time.
    assert ladder.promotion(trials) == Promotion(1, 3)


def full_trainings(n_workers: int, cost: float) -> tuple[int, float]:
    """Returns the trainings to the end that workers begin for a cost in full trainings, and the share of time they work."""
    space = ConfigurationSpace()
    space.add(UniformFloatHyperparameter(f"x{i}", 0.0, 1.0) for i in range(4))
    optimizer = make_optimizer(AshaConfig(), space, OBJECTIVES, Fidelity(1, 27, 3), 0)
    reached: dict[str, int] = {}
    queue: list[tuple[float, int, Trial]] = []
    spent = now = busy = 0.0
    n_full = 0
    while True:
        while len(queue) < n_workers and spent < cost:
            trial = optimizer.ask()
            assert trial is not None
            epochs = (trial.fidelity - reached.get(trial.key, 0)) / 27
            reached[trial.key] = trial.fidelity
            spent, busy, n_full = spent + epochs, busy + epochs, n_full + (trial.fidelity == 27)
            heapq.heappush(queue, (now + epochs, trial.id, trial))
        if not queue:
            return n_full, busy / now / n_workers
        now, _, trial = heapq.heappop(queue)
        x = float(trial.config["x0"])
        worse = sum(float(trial.config[f"x{i}"]) for i in (1, 2, 3)) + 1 / trial.fidelity
        optimizer.tell(Result(trial, TrialState.COMPLETED, {"a": x + worse, "b": 1 - x + worse}))


@pytest.mark.parametrize("n_workers", [1, 16, 100])
def test_any_number_of_workers_trains_some_to_the_end(n_workers):
    n_full, share = full_trainings(n_workers, 30)
    assert n_full >= 4
    assert n_workers > 1 or share > 0.99
