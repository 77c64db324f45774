"""Where the best configurations are believed to be: a distribution of each hyperparameter, for all objectives or for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import (
    BetaFloatHyperparameter,
    BetaIntegerHyperparameter,
    CategoricalHyperparameter,
    Hyperparameter,
    NormalFloatHyperparameter,
    NormalIntegerHyperparameter,
    NumericalHyperparameter,
    OrdinalHyperparameter,
)

from dsnn_hpo.errors import InputError, one_of
from dsnn_hpo.optimizers._config import BayesianConfig, PriorConfig
from dsnn_hpo.optimizers._kinds import grid, has_shape, n_values_of
from dsnn_hpo.trial import Objective

Floats = npt.NDArray[np.float64]
AnyHyperparameter = Hyperparameter[Any, Any]

LEAST_DENSITY = 1e-3
"""Of a hyperparameter's value: beliefs rule out nothing."""


class Prior:
    """Independent distributions of the hyperparameters.

    Args:
        hyperparameters: of a space, with their own distributions.
        stated: by name, others that take their place, over the same vectors: numbers in [0, 1], indices of choices.

    Attributes:
        is_uniform: whether it says nothing.
    """

    def __init__(
        self, hyperparameters: Sequence[AnyHyperparameter], stated: Mapping[str, AnyHyperparameter] | None = None
    ) -> None:
        self._hyperparameters = tuple(hyperparameters)
        self._shapes = [(stated or {}).get(h.name, h) for h in hyperparameters]
        self._shaped = [
            i for i, shape in enumerate(self._shapes) if n_values_of(hyperparameters[i]) > 1 and has_shape(shape)
        ]
        self.is_uniform = not self._shaped

    def draw(self, n: int, generator: np.random.Generator) -> Floats:
        """Returns rows, shape (n, n_hyperparameters), whatever conditions and clauses say."""
        legacy = np.random.RandomState(generator.integers(2**32, dtype=np.uint32))
        columns = [shape._vector_dist.sample_vector(n=n, seed=legacy) for shape in self._shapes]
        for i, (own, shape) in enumerate(zip(self._hyperparameters, self._shapes, strict=True)):
            # ConfigSpace draws these from a grid that is not that of the integers, and what is stated from none.
            is_off_grid = isinstance(own, NormalIntegerHyperparameter | BetaIntegerHyperparameter) and own.log
            if is_off_grid or (shape is not own and isinstance(own, NumericalHyperparameter)):
                columns[i] = own.to_vector(own.to_value(columns[i]))
        return np.stack(columns, axis=1).astype(np.float64)

    def log_density(self, rows: Floats) -> Floats:
        """Returns the logarithm of the rows' density over that of a uniform one, shape (n,), where it falls far below that, ``LEAST_DENSITY`` of it.

        What a condition switches off does not count.
        """
        total = np.zeros(len(rows))
        for index in self._shaped:
            values = rows[:, index]
            active = np.flatnonzero(~np.isnan(values))
            total[active] += np.log(np.maximum(self._density(index, values[active]), LEAST_DENSITY))
        return total

    @cached_property
    def max_log_density(self) -> float:
        """Returns what ``log_density`` is at most, as far as a fine grid and defaults tell, where all hyperparameters are active."""
        return float(sum(np.log(max(self._max_density(i), LEAST_DENSITY)) for i in self._shaped))

    def _max_density(self, index: int) -> float:
        # The default is the mode, unless another one is given; a narrow peak may lie between the points of the grid.
        shape = self._shapes[index]
        values = np.append(grid(self._hyperparameters[index]), shape.to_vector(shape.default_value))
        return float(self._density(index, values).max())

    def _density(self, index: int, values: Floats) -> Floats:
        """Returns the density of a hyperparameter's values over that of the uniform distribution."""
        shape = self._shapes[index]
        density = np.asarray(shape._vector_dist.pdf_vector(values), dtype=np.float64)
        size = n_values_of(shape)
        return density * (size if np.isfinite(size) else 1.0)


def priors_of(
    config: BayesianConfig, space: ConfigurationSpace, objectives: Sequence[Objective]
) -> list[dict[str, AnyHyperparameter]]:
    """Returns for each objective the distributions that are stated for it, and none at last; or nothing where none are stated at all.

    Raises:
        InputError: a prior names an objective or a hyperparameter that there is not, or does not fit its range.
    """
    names = [o.name for o in objectives]
    for name, said in config.priors.items():
        if name not in names:
            raise InputError(f"priors: no objective {one_of(name, names)}")
        for hyperparameter in said:
            if hyperparameter not in space:
                raise InputError(f"priors: {name}: no hyperparameter {one_of(hyperparameter, list(space))}")
    if not any(config.priors.values()):
        return []
    stated = [
        {h: _shape(f"priors: {o}: {h}", space[h], prior) for h, prior in config.priors.get(o, {}).items()}
        for o in names
    ]
    # Beliefs may be wrong: a share of the search follows none.
    return [*stated, {}]


def _shape(where: str, own: AnyHyperparameter, prior: PriorConfig) -> AnyHyperparameter:
    if n_values_of(own) <= 1:
        raise InputError(f"{where} has one value only; there is nothing to believe of it")
    if isinstance(own, CategoricalHyperparameter | OrdinalHyperparameter):
        return _weighted(where, own, prior)
    assert isinstance(own, NumericalHyperparameter)
    if prior.weights is not None:
        raise InputError(f"{where} is a number: give mu and sigma, or alpha and beta, not weights")
    if prior.alpha is not None and prior.beta is not None:
        return BetaFloatHyperparameter(own.name, prior.alpha, prior.beta, 0.0, 1.0)
    assert prior.mu is not None
    assert prior.sigma is not None
    if not own.lower <= prior.mu <= own.upper:
        raise InputError(f"{where}: mu must be in its range, {own.lower:g} to {own.upper:g}, not {prior.mu:g}")
    if own.log and prior.sigma <= 1.0:
        raise InputError(f"{where} is on a log scale: sigma is a factor, above 1, not {prior.sigma:g}")
    span = math.log(own.upper / own.lower) if own.log else float(own.upper - own.lower)
    deviation = math.log(prior.sigma) if own.log else prior.sigma
    mean = math.log(prior.mu / own.lower) if own.log else prior.mu - float(own.lower)
    return NormalFloatHyperparameter(own.name, mean / span, max(deviation / span, 1e-6), 0.0, 1.0)


def _weighted(
    where: str,
    own: CategoricalHyperparameter | OrdinalHyperparameter,
    prior: PriorConfig,
) -> CategoricalHyperparameter:
    if prior.weights is None:
        raise InputError(f"{where} is a choice: give weights, such as {{{own.default_value}: 3}}")
    values = own.choices if isinstance(own, CategoricalHyperparameter) else own.sequence
    written = {str(value): value for value in values}
    for name in prior.weights:
        if str(name) not in written:
            raise InputError(f"{where}: no value {one_of(str(name), list(written))}")
    weights = {str(name): weight for name, weight in prior.weights.items()}
    return CategoricalHyperparameter(own.name, list(values), weights=[weights.get(name, 1.0) for name in written])
