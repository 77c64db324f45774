"""Optimizers: engines that propose configurations and fidelities, behind one protocol of ask and tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsnn_hpo.errors import InputError
from dsnn_hpo.optimizers._background import Background, Budget, KnownFigure
from dsnn_hpo.optimizers._config import (
    AshaConfig,
    BayesianConfig,
    OptimizerConfig,
    OptunaConfig,
    PriorConfig,
    RandomConfig,
    SmacConfig,
)
from dsnn_hpo.optimizers._constraints import check_aims
from dsnn_hpo.optimizers._plan import Plan, initial_design, plan
from dsnn_hpo.optimizers._protocol import Optimizer, RecallingOptimizer
from dsnn_hpo.trial import Fidelity, Objective, Result, Trial, TrialState

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

__all__ = [
    "AshaConfig",
    "Background",
    "BayesianConfig",
    "Budget",
    "Fidelity",
    "KnownFigure",
    "Objective",
    "Optimizer",
    "OptimizerConfig",
    "OptunaConfig",
    "Plan",
    "PriorConfig",
    "RandomConfig",
    "RecallingOptimizer",
    "Result",
    "SmacConfig",
    "Trial",
    "TrialState",
    "can_be_pickled",
    "check_optimizer",
    "check_priors",
    "initial_design",
    "make_optimizer",
    "plan",
]


def can_be_pickled(config: OptimizerConfig) -> bool:
    """Returns whether an optimizer of this engine is itself again after pickling; SMAC's holds files and threads."""
    return not isinstance(config, SmacConfig)


def check_optimizer(config: OptimizerConfig, objectives: Sequence[Objective]) -> None:
    """Checks that what an optimizer is to keep or to reach is among the objectives; raises InputError where it is not."""
    if isinstance(config, BayesianConfig):
        check_aims(config, objectives)


def check_priors(config: OptimizerConfig, space: ConfigurationSpace, objectives: Sequence[Objective]) -> None:
    """Checks that what an optimizer is to believe fits the search space; raises InputError where it does not."""
    if isinstance(config, BayesianConfig):
        from dsnn_hpo.optimizers._priors import priors_of

        priors_of(config, space, objectives)


def make_optimizer(
    config: OptimizerConfig,
    space: ConfigurationSpace,
    objectives: Sequence[Objective],
    fidelity: Fidelity,
    seed: int,
    background: Background | None = None,
) -> Optimizer:
    """Returns a fresh optimizer of the configured engine, which is imported only now; ``space`` is left untouched.

    The model-based optimizer makes use of the background, the others know nothing of it.

    Raises:
        InputError: a constraint, the reference, a weight, a prior or a known figure is not right for the objectives or the space; or
            the configuration names earlier runs, and the background has no results of theirs: only an experiment reads run folders.
    """
    if isinstance(config, BayesianConfig):
        if config.warm_start and not (background and background.earlier):
            raise InputError("warm_start: an experiment reads earlier runs; here give Background(earlier=results)")
        from dsnn_hpo.optimizers.bayesian import BayesianOptimizer

        return BayesianOptimizer(config, space, objectives, fidelity, seed, background)
    if isinstance(config, AshaConfig):
        from dsnn_hpo.optimizers.asha import AshaOptimizer

        return AshaOptimizer(config, space, objectives, fidelity, seed)
    if isinstance(config, SmacConfig):
        from dsnn_hpo.optimizers.smac import SmacOptimizer

        return SmacOptimizer(config, space, objectives, fidelity, seed)
    if isinstance(config, OptunaConfig):
        from dsnn_hpo.optimizers.optuna import OptunaOptimizer

        return OptunaOptimizer(config, space, objectives, fidelity, seed)
    from dsnn_hpo.optimizers.random import RandomOptimizer

    return RandomOptimizer(config, space, fidelity, seed)
