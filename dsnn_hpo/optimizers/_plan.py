"""What an optimizer will do, told before it does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsnn_hpo.optimizers._background import Budget
from dsnn_hpo.optimizers._config import AshaConfig, BayesianConfig, OptimizerConfig, SmacConfig
from dsnn_hpo.trial import Fidelity

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

Rung = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """The brackets of one round, in order; the engine repeats rounds until the budget is spent.

    Attributes:
        brackets: for each bracket its rungs (n_configs, epochs), from short to long trainings.
    """

    brackets: tuple[tuple[Rung, ...], ...]

    @property
    def n_trainings(self) -> int:
        """Returns the number of trials in a round."""
        return sum(n_configs for bracket in self.brackets for n_configs, _ in bracket)

    @property
    def n_epochs(self) -> int:
        """Returns the epochs trained in a round: a promoted configuration continues and pays the difference only."""
        return sum(
            n_configs * (epochs - previous)
            for bracket in self.brackets
            for (n_configs, epochs), previous in zip(bracket, [0, *(e for _, e in bracket)], strict=False)
        )


def plan(config: OptimizerConfig, fidelity: Fidelity) -> Plan | None:
    """Returns the brackets of one round: Hyperband's for SMAC, one training at full fidelity for Optuna and at random.

    For successive halving it is the brackets that it is given, as many as lead to one training at full fidelity. None for
    the model-based optimizer, which decides anew each time; it begins with ``initial_design``.
    """
    if isinstance(config, BayesianConfig):
        return None
    if not isinstance(config, SmacConfig | AshaConfig):
        return Plan((((1, fidelity.max_epochs),),))
    brackets = hyperband_brackets(fidelity)
    if isinstance(config, SmacConfig):
        return Plan(brackets)
    return Plan(brackets[: config.brackets if isinstance(config, AshaConfig) else 1])


def hyperband_brackets(fidelity: Fidelity) -> tuple[tuple[Rung, ...], ...]:
    """Returns the brackets of a round of Hyperband, the longest first.

    Bracket s starts ``ceil(eta**s (s_max + 1) / (s + 1))`` configurations at ``max_epochs / eta**s`` and promotes one in
    eta (Li et al. 2018, algorithm 1, with SMAC's rounding up).
    """
    rungs = fidelity.rungs()
    s_max = len(rungs) - 1
    brackets = []
    for s in range(s_max, -1, -1):
        n_initial = math.ceil(fidelity.eta**s * (s_max + 1) / (s + 1))
        n_configs = [n_initial // fidelity.eta**stage for stage in range(s + 1)]
        brackets.append(tuple(zip(n_configs, rungs[s_max - s :], strict=True)))
    return tuple(brackets)


def initial_design(config: BayesianConfig, space: ConfigurationSpace, fidelity: Fidelity, budget: Budget) -> int:
    """Returns how many configurations the model-based optimizer trains at the lowest fidelity before its model proposes."""
    from dsnn_hpo.optimizers._vectors import VectorSpace
    from dsnn_hpo.optimizers.bayesian._optimizer import default_n_initial

    return config.n_initial or default_n_initial(VectorSpace(space).n_free, fidelity.rungs(), budget)
