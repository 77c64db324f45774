"""Beliefs about the best configurations: the distributions of a space, and those stated for each objective."""

from __future__ import annotations

import numpy as np
import pytest
from ConfigSpace import (
    BetaFloatHyperparameter,
    BetaIntegerHyperparameter,
    CategoricalHyperparameter,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    InCondition,
    NormalFloatHyperparameter,
    NormalIntegerHyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from pydantic import ValidationError

from dsnn_hpo.errors import InputError
from dsnn_hpo.optimizers import (
    AshaConfig,
    BayesianConfig,
    OptunaConfig,
    RecallingOptimizer,
    check_priors,
    make_optimizer,
)
from dsnn_hpo.optimizers._priors import priors_of
from dsnn_hpo.optimizers._vectors import VectorSpace
from dsnn_hpo.optimizers.bayesian import BayesianOptimizer
from dsnn_hpo.optimizers.bayesian._search import Proposer
from dsnn_hpo.trial import Config, Result, Trial, TrialState
from tests.optimizers.test_bayesian import FIDELITY, OBJECTIVES, drive, result, space_of


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
    assert np.exp(vectors.priors[0].log_density(rows)).mean() == pytest.approx(1.0, abs=about)


def test_what_is_switched_off_does_not_count():
    space = VectorSpace(every_kind())
    config = {"choice": "b", "number": 0.5, "count": 4, "share": 0.5, "size": 3, "rest": 0.1}
    active = space.priors[0].log_density(space.row(config)[None])[0]
    without = {name: value for name, value in config.items() if name != "number"} | {"choice": "a"}
    inactive = space.priors[0].log_density(space.row(without)[None])[0]
    normal = np.log(1 / (0.1 * np.sqrt(2 * np.pi)))
    assert active - inactive == pytest.approx(np.log(3) + normal, abs=1e-3)


def test_a_uniform_space_has_none():
    space = ConfigurationSpace()
    space.add(UniformFloatHyperparameter("x", 0, 1), CategoricalHyperparameter("c", ["a", "b"]))
    assert VectorSpace(space).priors[0].is_uniform


def test_no_density_is_above_the_highest():
    space, rows = drawn(3000)
    [prior] = space.priors
    assert prior.max_log_density - 0.5 < prior.log_density(rows).max() <= prior.max_log_density + 1e-9


def test_the_narrowest_belief_has_a_highest_density():
    stated = {"a": {"x0": {"mu": 0.30003, "sigma": 1e-9}}, "b": {"x0": {"mu": 0.7, "sigma": 1e-9}}}
    prior = VectorSpace(space_of(), priors_of(settings(stated), space_of(), OBJECTIVES)).priors[0]
    at = prior.log_density(np.asarray([[0.30003, 0.5, 0.5, 0.5], [0.31, 0.5, 0.5, 0.5]]))
    assert at[0] == pytest.approx(prior.max_log_density)
    assert at[1] < 0 < at[0]


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


def mixed() -> ConfigurationSpace:
    space = ConfigurationSpace()
    lr = UniformFloatHyperparameter("lr", 1e-4, 1e-1, log=True)
    method = CategoricalHyperparameter("method", ["SGD", "Adam", "RMSprop"])
    momentum = UniformFloatHyperparameter("momentum", 0.0, 0.9)
    space.add(
        lr,
        method,
        momentum,
        UniformIntegerHyperparameter("batch", 16, 256, log=True),
        UniformIntegerHyperparameter("bits", 2, 6),
        OrdinalHyperparameter("width", [1, 2, 4]),
        Constant("fixed", 3),
        EqualsCondition(momentum, method, "SGD"),
    )
    return space


def settings(priors: dict) -> BayesianConfig:
    return BayesianConfig.model_validate({"priors": priors})


OF_A = {
    "lr": {"mu": 1e-3, "sigma": 2},
    "method": {"weights": {"SGD": 50}},
    "batch": {"mu": 64, "sigma": 1.5},
    "bits": {"alpha": 1, "beta": 6},
    "width": {"weights": {1: 98}},
}


def of_objectives(priors: dict) -> VectorSpace:
    return VectorSpace(mixed(), priors_of(settings(priors), mixed(), OBJECTIVES))


def drawn_configs(space: VectorSpace, n: int = 4000) -> list[Config]:
    return [space.config(row) for row in space.draw(n, np.random.default_rng(0))]


def test_random_configurations_follow_each_objective_in_turn_and_some_none():
    configs = drawn_configs(of_objectives({"a": OF_A, "b": {"method": {"weights": {"RMSprop": 50}}}}))
    methods = [c["method"] for c in configs]
    for name in ("SGD", "RMSprop"):
        assert methods.count(name) / len(methods) == pytest.approx((50 / 52 + 1 / 52 + 1 / 3) / 3, abs=0.03)
    # Of b nothing is said but the method.
    of_b = np.asarray([c["lr"] for c in configs if c["method"] == "RMSprop"])
    assert np.std(np.log10(of_b)) == pytest.approx(3 / np.sqrt(12), abs=0.05)


def test_draws_are_spread_as_is_stated():
    configs = drawn_configs(VectorSpace(mixed(), priors_of(settings({"a": OF_A}), mixed(), OBJECTIVES)[:1]))
    logs = np.log([c["lr"] for c in configs])
    assert np.exp(logs.mean()) == pytest.approx(1e-3, rel=0.1)
    # On a log scale one deviation is a factor.
    assert np.exp(logs.std()) == pytest.approx(2.0, rel=0.05)
    logs = np.log([c["batch"] for c in configs])
    assert np.exp(logs.mean()) == pytest.approx(64, rel=0.1)
    assert np.exp(logs.std()) == pytest.approx(1.5, rel=0.05)
    assert {type(c["batch"]) for c in configs} == {int}
    assert np.mean([c["width"] == 1 for c in configs]) == pytest.approx(0.98, abs=0.01)
    assert np.mean([c["bits"] <= 3 for c in configs]) > 0.8
    assert {c["fixed"] for c in configs} == {3}


def test_a_density_is_highest_at_what_is_stated():
    space = of_objectives({"a": OF_A})
    of_a, *others = space.priors
    assert [prior.is_uniform for prior in others] == [True, True]
    best = {"lr": 1e-3, "method": "SGD", "momentum": 0.5, "batch": 64, "bits": 2, "width": 1, "fixed": 3}
    worse = [{"lr": 3e-3}, {"batch": 128}, {"bits": 4}, {"width": 4}, {"method": "SGD", "lr": 1e-4}]
    highest = of_a.log_density(space.row(best)[None])[0]
    assert highest == pytest.approx(of_a.max_log_density, abs=0.01)
    for change in worse:
        assert of_a.log_density(space.row(best | change)[None])[0] < highest - 0.2
    # The same however far it is off in what nothing is said of.
    assert of_a.log_density(space.row(best | {"momentum": 0.0})[None])[0] == highest


def test_what_is_stated_takes_the_place_of_the_space_s_distribution():
    space = believed(0.8)
    of_a, of_b, *_ = VectorSpace(
        space, priors_of(settings({"a": {"x0": {"mu": 0.2, "sigma": 0.1}}}), space, OBJECTIVES)
    ).priors
    rows = np.asarray([[0.2, 0.5, 0.5, 0.5], [0.8, 0.5, 0.5, 0.5]])
    assert of_a.log_density(rows)[0] > of_a.log_density(rows)[1] + 3
    assert of_b.log_density(rows)[1] > of_b.log_density(rows)[0] + 3


def test_nothing_stated_is_the_same_as_without():
    space = believed(0.8)
    trials = [
        drive(make_optimizer(config, space, OBJECTIVES, FIDELITY, 0), 40)
        for config in (BayesianConfig(n_initial=8), BayesianConfig(n_initial=8, priors={"a": {}}))
    ]
    assert trials[0] == trials[1]


def test_each_objective_s_beliefs_turn_the_search_and_fade():
    # On the front x0 is anything, and a is least where it is 0, b where it is 1.
    stated = {"a": {"x0": {"mu": 0.1, "sigma": 0.05}}, "b": {"x0": {"mu": 0.9, "sigma": 0.05}}}
    config = BayesianConfig.model_validate({"n_initial": 8, "evaluate_default": False, "priors": stated})
    trials = drive(make_optimizer(config, space_of(), OBJECTIVES, FIDELITY, 0), 90)
    x0 = np.asarray([t.config["x0"] for t in trials])
    of_a, of_b = np.abs(x0 - 0.1) < 0.1, np.abs(x0 - 0.9) < 0.1
    # Two fifths of the range are near the one or the other.
    assert min(of_a[:30].mean(), of_b[:30].mean()) > 0.25
    assert (of_a | of_b)[:30].mean() > 0.6
    assert (of_a | of_b)[60:].mean() < 0.5


def test_beliefs_do_not_narrow_what_is_of_interest():
    stated = {name: {f"x{i}": {"mu": 0.5, "sigma": 0.02} for i in range(4)} for name in "ab"}
    config = BayesianConfig.model_validate({"n_initial": 24, "evaluate_default": False, "priors": stated})
    optimizer = make_optimizer(config, space_of(), OBJECTIVES, FIDELITY, 0)
    assert isinstance(optimizer, BayesianOptimizer)
    drive(optimizer, 40)
    fitted = optimizer._fits.used(optimizer._known.trials.ends)
    assert fitted
    proposer = Proposer(optimizer._known, optimizer._aim, fitted, np.random.default_rng(0))
    rows = optimizer._known.trials.rows(range(24))
    anywhere = np.flatnonzero((np.abs(rows - 0.5) > 0.2).any(axis=1))
    assert len(anywhere) == 8
    means, _ = proposer._model.predict(optimizer._known.features(anywhere))
    # Nine tenths, were it not for the third that was chosen by no belief, would leave out a third of those.
    assert ((means <= proposer._reference()).mean(axis=0) > 0.8).all()


def test_a_search_with_priors_goes_on_where_it_was():
    stated = {"a": {"x0": {"mu": 0.1, "sigma": 0.05}}}
    config = BayesianConfig.model_validate({"n_initial": 8, "priors": stated})
    straight = drive(make_optimizer(config, space_of(), OBJECTIVES, FIDELITY, 0), 30)
    resumed = make_optimizer(config, space_of(), OBJECTIVES, FIDELITY, 0)
    assert isinstance(resumed, RecallingOptimizer)
    for trial in straight[:20]:
        resumed.recall(trial)
        resumed.tell(result(trial))
    assert drive(resumed, 10) == straight[20:]


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"c": {}}, "priors: no objective 'c' .*allowed: a, b"),
        ({"a": {"lrr": {"mu": 1, "sigma": 2}}}, "priors: a: no hyperparameter 'lrr' .did you mean 'lr'"),
        ({"a": {"lr": {"mu": 1, "sigma": 2}}}, "priors: a: lr: mu must be in its range, 0.0001 to 0.1, not 1"),
        ({"a": {"lr": {"mu": 1e-3, "sigma": 0.5}}}, "lr is on a log scale: sigma is a factor, above 1, not 0.5"),
        ({"a": {"lr": {"weights": {"1e-3": 2}}}}, "lr is a number: give mu and sigma, or alpha and beta, not weights"),
        ({"b": {"method": {"mu": 1, "sigma": 2}}}, "b: method is a choice: give weights, such as .SGD: 3."),
        ({"b": {"method": {"weights": {"sgd": 2}}}}, "method: no value 'sgd' .did you mean 'SGD'"),
        ({"b": {"width": {"weights": {3: 2}}}}, "width: no value '3' .*allowed: 1, 2, 4"),
        ({"b": {"fixed": {"mu": 3, "sigma": 1}}}, "fixed has one value only"),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(priors, message):
    with pytest.raises(InputError, match=message):
        make_optimizer(settings(priors), mixed(), OBJECTIVES, FIDELITY, 0)
    with pytest.raises(InputError, match=message):
        check_priors(settings(priors), mixed(), OBJECTIVES)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({}, "give mu and sigma, or alpha and beta, or weights"),
        ({"mu": 1.0}, "give mu and sigma, or alpha and beta, or weights"),
        ({"mu": 1.0, "beta": 2.0}, "give mu and sigma, or alpha and beta, or weights"),
        ({"mu": 1.0, "sigma": 0.0}, "greater than 0"),
        ({"mu": float("nan"), "sigma": 1.0}, "finite number"),
        ({"alpha": 0.5, "beta": 2.0}, "greater than or equal to 1"),
        ({"weights": {"a": 0}}, "greater than 0"),
        ({"mean": 1.0}, "Extra inputs"),
    ],
)
def test_a_prior_that_is_none_is_refused(prior, message):
    with pytest.raises(ValidationError, match=message):
        settings({"a": {"lr": prior}})
