import numpy as np
import optuna
import pytest
from ConfigSpace import (
    CategoricalHyperparameter,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    UniformIntegerHyperparameter,
)

from dsnn_hpo.optimizers import Fidelity, Objective, OptunaConfig, Result, TrialState, make_optimizer
from dsnn_hpo.optimizers.optuna import changed, legal
from dsnn_hpo.search_space import plain


def _grid(forbidden):
    """Ten by ten, of which some points are forbidden."""
    x, y = UniformIntegerHyperparameter("x", 0, 9), UniformIntegerHyperparameter("y", 0, 9)
    space = ConfigurationSpace()
    space.add(x, y)
    for a, b in forbidden:
        space.add(ForbiddenAndConjunction(ForbiddenEqualsClause(x, a), ForbiddenEqualsClause(y, b)))
    return space


@pytest.fixture
def n_suggested(monkeypatch):
    """How often a sampler was asked."""
    asked = []
    ask = optuna.Study.ask

    def counted(study):
        asked.append(study)
        return ask(study)

    monkeypatch.setattr(optuna.Study, "ask", counted)
    return lambda: len(asked)


def test_gaussian_processes_that_insist_on_what_is_forbidden_are_asked_few_times(n_suggested):
    # The best point is forbidden, and the model, which is never told of it, wants it again and again.
    space = _grid([(9, 9)])
    objectives = [Objective("loss", "minimize")]
    config = OptunaConfig(sampler="gp", n_initial=5, evaluate_default=False)
    optimizer = make_optimizer(config, space, objectives, Fidelity(1, 1), seed=0)
    losses = []
    for _ in range(20):
        trial = optimizer.ask()
        assert (trial.config["x"], trial.config["y"]) != (9, 9)
        losses.append(18.0 - trial.config["x"] - trial.config["y"])
        optimizer.tell(Result(trial, TrialState.COMPLETED, {"loss": losses[-1]}))
    assert n_suggested() <= 3 * 20
    assert min(losses) == 1.0


def test_as_few_hyperparameters_change_as_it_takes():
    space = _grid([(9, 9)])
    space.seed(0)
    others = [changed(space, {"x": 9, "y": 9}, lambda _: True, np.random.default_rng(seed)) for seed in range(20)]
    assert all((other["x"] == 9) != (other["y"] == 9) for other in others)
    assert len({tuple(other.values()) for other in others}) > 5


def test_two_change_where_one_is_not_enough():
    space = _grid([(9, b) for b in range(10)] + [(a, 9) for a in range(9)])
    space.seed(0)
    other = changed(space, {"x": 9, "y": 9}, lambda _: True, np.random.default_rng(0))
    assert other["x"] != 9
    assert other["y"] != 9


def test_nothing_is_changed_to_what_is_known_or_a_constant():
    kind, x = CategoricalHyperparameter("kind", ["a", "b"]), UniformIntegerHyperparameter("x", 0, 1)
    space = ConfigurationSpace()
    space.add(kind, x, Constant("c", 1), EqualsCondition(x, kind, "b"))
    space.seed(0)
    # Without its condition x would make two of the configuration with a.
    every = {tuple(sorted(plain(c).items())) for c in space.sample_configuration(100)}
    assert len(every) == 3
    values = {"kind": "a", "x": 0, "c": 1}
    known = set()
    generator = np.random.default_rng(0)
    while (other := changed(space, values, lambda c: tuple(sorted(c.items())) not in known, generator)) is not None:
        known.add(tuple(sorted(legal(space, other).items())))
    assert known == every
