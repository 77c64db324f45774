"""That the engines learn: their later proposals beat random ones, and failures do not blind them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from ConfigSpace import ConfigurationSpace, UniformFloatHyperparameter

from dsnn_hpo.optimizers import (
    AshaConfig,
    BayesianConfig,
    OptimizerConfig,
    OptunaConfig,
    RandomConfig,
    SmacConfig,
    make_optimizer,
)
from dsnn_hpo.trial import Fidelity, Objective, Result, Trial, TrialState

ENGINES = {
    "smac": SmacConfig(),
    "nsga2": OptunaConfig(population_size=8),
    "tpe": OptunaConfig(sampler="tpe"),
    "asha": AshaConfig(),
    "asha-tpe": AshaConfig(proposals="tpe"),
    "bayesian": BayesianConfig(),
}
COSTS = (Objective("near_a", "minimize", "1", ""), Objective("near_b", "minimize", "J", ""))
FIDELITY = Fidelity(1, 1, 3)
N_TRIALS, N_LATE = 60, 20


def _space() -> ConfigurationSpace:
    space = ConfigurationSpace()
    space.add(UniformFloatHyperparameter(f"x{i}", 0.0, 1.0) for i in range(4))
    return space


def _costs(trial: Trial) -> dict[str, float]:
    point = [float(trial.config[f"x{i}"]) for i in range(4)]
    return {
        "near_a": math.dist(point, (0.2, 0.5, 0.5, 0.5)),
        # Of another scale than the first, as an energy is.
        "near_b": 1e-4 * math.dist(point, (0.8, 0.5, 0.5, 0.5)),
    }


def _loss(trial: Trial) -> float:
    costs = _costs(trial)
    return costs["near_a"] + 1e4 * costs["near_b"]


def _late_loss(config: OptimizerConfig, fails: Callable[[Trial], bool], seed: int) -> float:
    optimizer = make_optimizer(config, _space(), COSTS, FIDELITY, seed)
    losses = []
    for _ in range(N_TRIALS):
        trial = optimizer.ask()
        assert trial is not None
        if fails(trial):
            optimizer.tell(Result(trial, TrialState.FAILED, error="diverged"))
        else:
            optimizer.tell(Result(trial, TrialState.COMPLETED, _costs(trial)))
        losses.append(_loss(trial))
    return sum(losses[-N_LATE:]) / N_LATE


@pytest.mark.parametrize(
    "fails", [lambda trial: False, lambda trial: trial.seed % 10 < 3], ids=["none failing", "3 in 10 failing"]
)
@pytest.mark.parametrize("config", ENGINES.values(), ids=ENGINES)
def test_late_proposals_beat_random_ones(config: OptimizerConfig, fails: Callable[[Trial], bool]) -> None:
    assert _late_loss(config, fails, seed=1) < 0.9 * _late_loss(RandomConfig(), fails, seed=1)


@pytest.mark.parametrize("config", [SmacConfig(), BayesianConfig()], ids=["smac", "bayesian"])
def test_failures_are_avoided(config: OptimizerConfig) -> None:
    # The best configurations lie at the edge of what fails.
    assert _n_late_failures(config, 1, edge=0.5) < 0.3 * N_LATE


@pytest.mark.parametrize(
    "config", [pytest.param(SmacConfig(), marks=pytest.mark.slow), BayesianConfig()], ids=["smac", "bayesian"]
)
def test_failures_are_avoided_whenever_the_first_comes(config: OptimizerConfig) -> None:
    # With seed 8 most of the results come before the first failure.
    n_failed = sum(_n_late_failures(config, seed, edge=0.6) for seed in (1, 2, 8))
    assert n_failed < 0.2 * 3 * N_LATE


def _n_late_failures(config: OptimizerConfig, seed: int, edge: float) -> int:
    def fails(trial: Trial) -> bool:
        return float(trial.config["x3"]) > edge

    optimizer = make_optimizer(config, _space(), COSTS, FIDELITY, seed)
    failed = []
    for _ in range(N_TRIALS):
        trial = optimizer.ask()
        assert trial is not None
        failed.append(fails(trial))
        values = {} if failed[-1] else _costs(trial)
        state = TrialState.FAILED if failed[-1] else TrialState.COMPLETED
        optimizer.tell(Result(trial, state, values, error="out of memory" if failed[-1] else None))
    return sum(failed[-N_LATE:])
