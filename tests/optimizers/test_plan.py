from __future__ import annotations

from collections import Counter

import pytest
from ConfigSpace import ConfigurationSpace, UniformFloatHyperparameter

from dsnn_hpo.optimizers import (
    AshaConfig,
    BayesianConfig,
    Budget,
    OptunaConfig,
    Plan,
    RandomConfig,
    SmacConfig,
    initial_design,
    make_optimizer,
    plan,
)
from dsnn_hpo.trial import Fidelity, Objective, Result, TrialState

COST = Objective("cost", "minimize", "1", "")


@pytest.mark.parametrize(
    ("fidelity", "brackets"),
    [
        (Fidelity(1, 9, 3), (((9, 1), (3, 3), (1, 9)), ((5, 3), (1, 9)), ((3, 9),))),
        (Fidelity(2, 25, 3), (((9, 3), (3, 8), (1, 25)), ((5, 8), (1, 25)), ((3, 25),))),
        (Fidelity(10, 50, 3), (((3, 17), (1, 50)), ((2, 50),))),
        (Fidelity(7, 7, 3), (((1, 7),),)),
    ],
)
def test_hyperbands_brackets(fidelity: Fidelity, brackets: tuple[tuple[tuple[int, int], ...], ...]) -> None:
    assert plan(SmacConfig(), fidelity).brackets == brackets


def test_halving_has_the_first_brackets_of_hyperband() -> None:
    fidelity = Fidelity(1, 9, 3)
    assert plan(AshaConfig(brackets=2), fidelity).brackets == plan(SmacConfig(), fidelity).brackets[:2]
    assert plan(AshaConfig(brackets=9), fidelity) == plan(SmacConfig(), fidelity)
    assert plan(BayesianConfig(), fidelity) is None


def test_a_model_begins_with_a_design_that_budget_and_space_allow() -> None:
    space = ConfigurationSpace()
    space.add([UniformFloatHyperparameter(f"x{i}", 0.0, 1.0) for i in range(4)])
    assert initial_design(BayesianConfig(), space, Fidelity(1, 27, 3), Budget()) == 28
    assert initial_design(BayesianConfig(), space, Fidelity(1, 27, 3), Budget(full_trainings=5)) == 27
    assert initial_design(BayesianConfig(n_initial=9), space, Fidelity(1, 27, 3), Budget()) == 9


@pytest.mark.parametrize(
    "fidelity",
    [
        Fidelity(1, 9, 3),
        Fidelity(2, 20, 3),
        Fidelity(1, 16, 2),
        Fidelity(1, 16, 4),
        Fidelity(1, 243, 3),
        Fidelity(1, 125, 5),
        Fidelity(3, 50, 3),
        Fidelity(4, 4, 2),
    ],
    ids=str,
)
def test_smac_does_what_the_plan_says(fidelity: Fidelity) -> None:
    planned = plan(SmacConfig(), fidelity)
    space = ConfigurationSpace()
    space.add(UniformFloatHyperparameter("x", 0.0, 1.0))
    # The model's share is irrelevant here: a random design longer than the round keeps the test quick.
    config = SmacConfig(n_initial=planned.n_trainings + 1)
    optimizer = make_optimizer(config, space, (COST,), fidelity, 0)
    asked: list[int] = []
    for _ in range(planned.n_trainings):
        trial = optimizer.ask()
        assert trial is not None
        asked.append(trial.fidelity)
        optimizer.tell(Result(trial, TrialState.COMPLETED, {"cost": float(trial.config["x"])}))
    expected = [epochs for bracket in planned.brackets for n_configs, epochs in bracket for _ in range(n_configs)]
    assert Counter(asked) == Counter(expected)
    assert asked == expected


@pytest.mark.parametrize("config", [OptunaConfig(), RandomConfig()])
def test_other_engines_train_at_full_fidelity(config: OptunaConfig | RandomConfig) -> None:
    assert plan(config, Fidelity(1, 9, 3)) == Plan((((1, 9),),))


def test_totals_count_continued_epochs_once() -> None:
    planned = Plan((((9, 1), (3, 3), (1, 9)), ((3, 9),)))
    assert planned.n_trainings == 16
    assert planned.n_epochs == 9 * 1 + 3 * 2 + 1 * 6 + 3 * 9
