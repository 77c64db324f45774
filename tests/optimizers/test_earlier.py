"""Results of earlier runs: a head start where they are of use, and hardly a burden where they mislead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dsnn_hpo.optimizers import Background, BayesianConfig, make_optimizer
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import VectorSpace
from dsnn_hpo.optimizers.bayesian._earlier import DOUBT, FADING, MAX_ROWS, Earlier
from dsnn_hpo.pareto import hypervolume
from dsnn_hpo.trial import Result, Trial, TrialState
from tests.optimizers.test_bayesian import FIDELITY, OBJECTIVES, drive, measure, point, result, space_of

N_EARLIER = 60


def earlier_results(seed: int = 9, n: int = N_EARLIER) -> list[Result]:
    optimizer = make_optimizer(BayesianConfig(), space_of(), OBJECTIVES, FIDELITY, seed)
    return [result(trial) for trial in drive(optimizer, n)]


@pytest.fixture(scope="module")
def past() -> list[Result]:
    return earlier_results()


def make(past, seed: int = 0, **settings):
    config = BayesianConfig(**settings)
    return make_optimizer(config, space_of(), OBJECTIVES, FIDELITY, seed, Background(earlier=past))


def covered(trials: list[Trial]) -> float:
    losses = [[measure(t)["a"], measure(t)["b"]] for t in trials if t.fidelity == FIDELITY.max_epochs]
    return hypervolume(np.asarray(losses).reshape(-1, 2), np.asarray([2.0, 2.0]))


def mislead(trial: Trial) -> Result:
    x = point(trial)
    values = {"a": 1 - x[0] + float(np.abs(x[2:] - 0.1).sum()), "b": x[0] + float(np.abs(x[2:] - 0.9).sum())}
    return Result(trial, TrialState.COMPLETED, values)


def test_the_best_of_an_earlier_run_come_first(past):
    trials = drive(make(past), 6)
    full = [r for r in past if r.trial.fidelity == FIDELITY.max_epochs]
    best = {r.trial.key for r in full}
    # The default is first; keys hold the seed, which is the run's own.
    configs = [dict(r.trial.config) for r in full]
    assert len(best) >= 5
    assert all(dict(t.config) in configs for t in trials[1:])


def test_it_is_a_head_start(past):
    with_past = [covered(drive(make(past, seed), 30)) for seed in range(3)]
    without = [covered(drive(make((), seed), 30)) for seed in range(3)]
    assert np.mean(with_past) > np.mean(without) + 0.1


def test_misleading_results_are_overcome(past):
    wrong = [mislead(r.trial) for r in past]
    with_wrong = [covered(drive(make(wrong, seed), 70)) for seed in range(2)]
    without = [covered(drive(make((), seed), 70)) for seed in range(2)]
    assert np.mean(with_wrong) > 0.9 * np.mean(without)


def test_they_are_no_results_of_this_run(past):
    optimizer = make(past)
    assert [t.id for t in drive(optimizer, 5)] == list(range(5))


def test_recalling_is_as_good_as_having_asked(past):
    original, resumed = make(past), make(past)
    for trial in drive(original, 45):
        resumed.recall(trial)
        resumed.tell(result(trial))
    assert drive(resumed, 5) == drive(original, 5)


def table_of(past, own=()):
    space = VectorSpace(space_of())
    trials = Trials(space, OBJECTIVES, seed=0)
    for trial, a, b in own:
        trial = replace(trial, id=trials.n_asked)
        trials.asked(trial)
        trials.told(Result(trial, TrialState.COMPLETED, {"a": a, "b": b}))
    return Earlier(past, space, OBJECTIVES, FIDELITY.rungs(), 2).table(trials)


def test_doubt_grows_with_what_the_run_learns_by_itself(past):
    assert table_of(past).doubt[0] == pytest.approx(DOUBT)
    own = [(Trial(0, {f"x{i}": 0.01 * k for i in range(4)}, 1, 0), 1.0, 1.0) for k in range(FADING)]
    assert table_of(past, own).doubt[0] == pytest.approx(2 * DOUBT)


def test_a_constant_difference_is_taken_off(past):
    longest = [r for r in past if r.trial.fidelity == FIDELITY.max_epochs][:4]
    own = [(r.trial, r.values["a"] + 5, r.values["b"] - 2) for r in longest]
    np.testing.assert_allclose(table_of(past, own).losses - table_of(past).losses, [[5, -2]] * len(table_of(past).bias))
    few = table_of(past, own[:2])
    np.testing.assert_array_equal(few.losses, table_of(past).losses)


def test_of_many_configurations_some_are_kept_and_failures_left_out():
    generator = np.random.default_rng(0)
    many = []
    for number in range(300):
        config = {f"x{i}": float(v) for i, v in enumerate(generator.random(4))}
        many.append(result(Trial(number, config, int(generator.choice((1, 9, 20))), 0)))
    failed = Result(Trial(300, {f"x{i}": 0.5 for i in range(4)}, 9, 0), TrialState.FAILED, error="diverged")
    table = table_of([*many, failed])
    assert len(table.bias) == MAX_ROWS
    # What trained longer than this run will counts as trained to the end.
    assert table.bias.min() == 0
    assert table_of([failed]) is None
