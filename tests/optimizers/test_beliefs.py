"""The distributions of a space as beliefs about its best configurations."""

from __future__ import annotations

import numpy as np
import pytest
from ConfigSpace import (
    BetaFloatHyperparameter,
    BetaIntegerHyperparameter,
    CategoricalHyperparameter,
    ConfigurationSpace,
    InCondition,
    NormalFloatHyperparameter,
    NormalIntegerHyperparameter,
    UniformFloatHyperparameter,
)

from dsnn_hpo.optimizers import AshaConfig, BayesianConfig, OptunaConfig, make_optimizer
from dsnn_hpo.optimizers._vectors import VectorSpace
from dsnn_hpo.trial import Result, Trial, TrialState
from tests.optimizers.test_bayesian import FIDELITY, OBJECTIVES, drive


def every_kind() -> ConfigurationSpace:
    space = ConfigurationSpace()
    choice = CategoricalHyperparameter("choice", ["a", "b"], weights=[1, 3])
    number = NormalFloatHyperparameter("number", 0.5, 0.1, lower=0.0, upper=1.0)
    space.add(
        choice,
        number,
        NormalIntegerHyperparameter("count", 4, 1.0, lower=1, upper=9),
        BetaFloatHyperparameter("share", 3.0, 2.0, lower=0.0, upper=1.0),
        BetaIntegerHyperparameter("size", 2.0, 5.0, lower=1, upper=9),
        UniformFloatHyperparameter("rest", 0.0, 1.0),
    )
    space.add(InCondition(number, choice, ["b"]))
    return space


def drawn(n: int) -> tuple[VectorSpace, np.ndarray]:
    space = VectorSpace(every_kind())
    return space, space.draw(n, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["choice", "number", "count", "share", "size", "rest"])
def test_a_density_is_one_in_the_mean_of_all_values(name):
    space = ConfigurationSpace()
    space.add(every_kind()[name])
    vectors = VectorSpace(space)
    rows = vectors.enumerate()
    rows = np.linspace(0, 1, 2001)[:, None] if rows is None else rows
    # ConfigSpace's densities of whole numbers are those of the numbers around them, not quite a distribution.
    about = 0.13 if name in ("count", "size") else 0.01
    assert np.exp(vectors.log_prior(rows)).mean() == pytest.approx(1.0, abs=about)


def test_what_is_switched_off_does_not_count():
    space = VectorSpace(every_kind())
    config = {"choice": "b", "number": 0.5, "count": 4, "share": 0.5, "size": 3, "rest": 0.1}
    active = space.log_prior(space.row(config)[None])[0]
    without = {name: value for name, value in config.items() if name != "number"} | {"choice": "a"}
    inactive = space.log_prior(space.row(without)[None])[0]
    normal = np.log(1 / (0.1 * np.sqrt(2 * np.pi)))
    assert active - inactive == pytest.approx(np.log(3) + normal, abs=1e-3)


def test_a_uniform_space_has_none():
    space = ConfigurationSpace()
    space.add(UniformFloatHyperparameter("x", 0, 1), CategoricalHyperparameter("c", ["a", "b"]))
    assert not VectorSpace(space).has_prior


def test_mutations_keep_to_the_range():
    space, rows = drawn(200)
    children = space.mutate(rows, np.random.default_rng(1))
    assert len(children) == 200
    for row in children:
        space.config(row)


def believed(mu: float) -> ConfigurationSpace:
    space = ConfigurationSpace()
    space.add(NormalFloatHyperparameter("x0", mu, 0.1, lower=0.0, upper=1.0))
    space.add(UniformFloatHyperparameter(f"x{i}", 0.0, 1.0) for i in range(1, 4))
    return space


def late(mu: float, n: int, **settings) -> list[Trial]:
    config = BayesianConfig(n_initial=8, evaluate_default=False, **settings)
    return drive(make_optimizer(config, believed(mu), OBJECTIVES, FIDELITY, 0), n)[-15:]


def test_the_strongest_beliefs_neither_overflow_nor_leave_nothing():
    space = ConfigurationSpace()
    space.add(NormalFloatHyperparameter(f"x{i}", 0.3, 0.02, lower=0.0, upper=1.0) for i in range(4))
    optimizer = make_optimizer(BayesianConfig(prior_weight=1e4, n_initial=8), space, OBJECTIVES, FIDELITY, 0)
    trials = drive(optimizer, 40)
    assert {t.fidelity for t in trials} == {1, 3, 9}


def test_beliefs_turn_the_search_and_fade():
    # Every x0 from 0 to 1 is on the front.
    distances = {
        weight: np.mean([abs(t.config["x0"] - 0.8) for t in late(0.8, 30, prior_weight=weight)]) for weight in (0, 50)
    }
    assert distances[50] < distances[0]
    spread = [t.config["x0"] for t in late(0.8, 90, prior_weight=10)]
    assert min(spread) < 0.4


@pytest.mark.parametrize(
    "config",
    [BayesianConfig(n_initial=8), AshaConfig(), AshaConfig(proposals="tpe"), OptunaConfig(sampler="gp", n_initial=8)],
)
def test_every_kind_of_distribution_can_be_searched(config):
    optimizer = make_optimizer(config, every_kind(), OBJECTIVES, FIDELITY, 0)

    def finish(trial: Trial) -> Result:
        a = float(trial.config["share"]) + 0.1 * float(trial.config["count"])
        return Result(trial, TrialState.COMPLETED, {"a": a, "b": -a + float(trial.config["size"])})

    assert len(drive(optimizer, 16, finish)) == 16
