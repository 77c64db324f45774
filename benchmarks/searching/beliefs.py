"""What someone might believe of a problem: which good configurations are best for each objective, or the contrary."""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np
from ConfigSpace.hyperparameters import Hyperparameter, NumericalHyperparameter
from scipy.stats import rankdata

from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config
from searching.problem import Problem

Kind = Literal["good", "misleading"]
KINDS: tuple[Kind, ...] = ("good", "misleading")

N_TRIED, N_GOOD = 5000, 25
WIDTH = 0.2
"""One standard deviation, in a number's range."""
CHANCE = 0.6
"""Of a choice's believed value."""


def beliefs(problem: Problem, kind: Kind, seed: int) -> dict[str, dict[str, Any]]:
    """Returns the ``priors`` of ``BayesianConfig``: distributions around a configuration for each objective.

    Of 5,000 random configurations, the 25 of the least sum of ranks by their true values are good ones: it is the best of them
    for that objective. Misleading, the sign of all values is turned.
    """
    space = copy.deepcopy(problem.space)
    space.seed(seed)
    tried = [plain(config) for config in space.sample_configuration(N_TRIED)]
    losses = np.asarray([problem.truth(config) for config in tried]) * (1 if kind == "good" else -1)
    good = np.argsort(rankdata(losses, axis=0).sum(axis=1), kind="stable")[:N_GOOD]
    chosen = good[losses[good].argmin(axis=0)]
    return {o.name: _around(tried[i], problem) for o, i in zip(problem.objectives, chosen, strict=True)}


def _around(config: Config, problem: Problem) -> dict[str, Any]:
    return {name: _prior(h, config[name]) for name, h in problem.space.items() if name in config and h.size > 1}


def _prior(hyperparameter: Hyperparameter[Any, Any], value: Any) -> dict[str, Any]:
    if not isinstance(hyperparameter, NumericalHyperparameter):
        return {"weights": {value: CHANCE / (1 - CHANCE) * (hyperparameter.size - 1)}}
    low, high = float(hyperparameter.lower), float(hyperparameter.upper)
    sigma = (high / low) ** WIDTH if hyperparameter.log else WIDTH * (high - low)
    return {"mu": float(value), "sigma": sigma}
