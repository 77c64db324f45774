import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, UniformFloatHyperparameter

from dsnn_hpo.optimizers._halving import Ladder, best_first
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import VectorSpace
from dsnn_hpo.trial import Objective, Result, Trial, TrialState

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
