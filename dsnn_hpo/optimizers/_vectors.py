"""A ConfigSpace as rows of numbers, many at a time: drawing, mutating, and what conditions and clauses forbid.

A row holds ConfigSpace's own vector of a configuration: a number in [0, 1] for each float and integer, an index for
each categorical and ordinal, NaN for what a condition switches off.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from ConfigSpace import Configuration, ConfigurationSpace
from ConfigSpace.hyperparameters import (
    BetaFloatHyperparameter,
    BetaIntegerHyperparameter,
    CategoricalHyperparameter,
    Constant,
    Hyperparameter,
    NormalFloatHyperparameter,
    NormalIntegerHyperparameter,
    NumericalHyperparameter,
    OrdinalHyperparameter,
)

from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAX_ENUMERATED = 20_000
STEP_SIZES = (0.3, 0.1, 0.03, 0.01)
"""Standard deviations of a mutation, in a hyperparameter's range."""
LEAST_DENSITY = 1e-3
"""Of a hyperparameter's value: beliefs rule out nothing."""
N_GRID = 2001


class VectorSpace:
    """The rows of a space.

    Args:
        space: is copied, and left as it is.

    Attributes:
        n_free: hyperparameters that are no constants.
        n_columns: of a row.
        has_prior: whether any hyperparameter has another distribution than the uniform one.
        groups: shape (n_features,), the hyperparameter, counted from 0, that each column of ``features`` is of.
    """

    def __init__(self, space: ConfigurationSpace) -> None:
        self._space = copy.deepcopy(space)
        self._hyperparameters: tuple[Hyperparameter[Any, Any], ...] = tuple(self._space.values())
        self._free = [i for i, h in enumerate(self._hyperparameters) if _n_values(h) > 1]
        self.n_free = len(self._free)
        self.n_columns = len(self._hyperparameters)
        widths = [_width(self._hyperparameters[i]) for i in self._free]
        self.groups: npt.NDArray[np.intp] = np.repeat(np.arange(len(widths)), widths)
        self._shaped = [i for i in self._free if _has_shape(self._hyperparameters[i])]
        self.has_prior = bool(self._shaped)
        # Some clauses name hyperparameters that a condition may have switched off.
        self._conditions = [(node.children_indices, node.condition) for node in self._space._dag.minimum_conditions]
        self._clauses = [*self._space._dag.unconditional_forbiddens, *self._space._dag.conditional_forbiddens]

    @property
    def default(self) -> Config:
        """Returns the default configuration."""
        return plain(self._space.get_default_configuration())

    def config(self, row: Floats) -> Config:
        """Returns the configuration of a row."""
        return plain(Configuration(self._space, vector=row))

    def row(self, config: Config) -> Floats:
        """Returns the row of a configuration; raises what ConfigSpace raises for one that the space does not hold."""
        values = {name: config[name] for name in self._space if name in config}
        return np.asarray(Configuration(self._space, values=values).get_array(), dtype=np.float64)

    def draw(self, n: int, generator: np.random.Generator) -> Floats:
        """Returns at most ``n`` legal rows, drawn from the hyperparameters' own distributions; fewer where many are forbidden."""
        if n < 1:
            return np.empty((0, self.n_columns))
        found: list[Floats] = []
        n_found = 0
        for _ in range(20):
            rows = self._legal(self._raw(max(2 * (n - n_found), 8), generator))
            found.append(rows)
            n_found += len(rows)
            if n_found >= n:
                break
        return np.concatenate(found)[:n]

    def mutate(
        self,
        parents: Floats,
        generator: np.random.Generator,
        steps: Sequence[float] = STEP_SIZES,
    ) -> Floats:
        """Returns a child for each parent, less those that are forbidden.

        Two hyperparameters change in the mean, one at least: numbers by a normal step whose size is drawn from ``steps``, choices to any other value.
        """
        n = len(parents)
        if not n or not self._free:
            return parents[:0]
        rate = min(0.5, 2.0 / len(self._free))
        changes = generator.random((n, len(self._free))) < rate
        changes[np.arange(n), generator.integers(len(self._free), size=n)] = True
        step = generator.choice(np.asarray(steps), size=n)
        fresh = self._raw(n, generator)
        children = np.where(np.isnan(parents), fresh, parents)
        for column, index in enumerate(self._free):
            hyperparameter = self._hyperparameters[index]
            where = np.flatnonzero(changes[:, column])
            children[where, index] = _stepped(hyperparameter, children[where, index], step[where], generator)
        return self._legal(children)

    def cross(self, parents: Floats, others: Floats, generator: np.random.Generator) -> Floats:
        """Returns a child of each pair, each hyperparameter from one of the two, less those that are forbidden."""
        fresh = self._raw(len(parents), generator)
        first, second = np.where(np.isnan(parents), fresh, parents), np.where(np.isnan(others), fresh, others)
        return self._legal(np.where(generator.random(first.shape) < 0.5, first, second))

    def features(self, rows: Floats) -> Floats:
        """Returns what a model learns from, shape (n, n_features), in [0, 1].

        Choices are one-hot, over the square root of two, so that different ones are 1 apart; what is switched off is
        0.5 (of a number) or no choice at all.
        """
        columns: list[Floats] = []
        for index in self._free:
            hyperparameter, values = self._hyperparameters[index], rows[:, index]
            if isinstance(hyperparameter, CategoricalHyperparameter):
                n_choices = len(hyperparameter.choices)
                columns.extend((values == choice) / np.sqrt(2.0) for choice in range(n_choices))
            else:
                span = max(1.0, _n_values(hyperparameter) - 1.0) if _is_index(hyperparameter) else 1.0
                columns.append(np.where(np.isnan(values), 0.5, values / span))
        return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0))

    @cached_property
    def max_log_prior(self) -> float:
        """Returns what ``log_prior`` is at most, as far as a fine grid tells, where all hyperparameters are active."""
        return float(sum(np.log(self._density(i, _grid(self._hyperparameters[i])).max()) for i in self._shaped))

    def log_prior(self, rows: Floats) -> Floats:
        """Returns the logarithm of the rows' density over that of a uniform space, shape (n,), where it falls far below that, ``LEAST_DENSITY`` of it.

        What a condition switches off does not count.
        """
        total = np.zeros(len(rows))
        for index in self._shaped:
            values = rows[:, index]
            active = np.flatnonzero(~np.isnan(values))
            total[active] += np.log(np.maximum(self._density(index, values[active]), LEAST_DENSITY))
        return total

    def _density(self, index: int, values: Floats) -> Floats:
        """Returns the density of a hyperparameter's values over that of the uniform distribution."""
        hyperparameter = self._hyperparameters[index]
        density = np.asarray(hyperparameter._vector_dist.pdf_vector(values), dtype=np.float64)
        size = _n_values(hyperparameter)
        return density * (size if np.isfinite(size) else 1.0)

    def enumerate(self) -> Floats | None:
        """Returns every legal row, or None where there are more than ``MAX_ENUMERATED``, or infinitely many."""
        sizes = [_n_values(self._hyperparameters[i]) for i in self._free]
        if np.prod([float(size) for size in sizes]) > MAX_ENUMERATED:
            return None
        rows = np.zeros((1, self.n_columns))
        for index, hyperparameter in enumerate(self._hyperparameters):
            values = _all_values(hyperparameter)
            rows = np.repeat(rows, len(values), axis=0)
            rows[:, index] = np.tile(values, len(rows) // len(values))
        legal = self._legal(rows)
        # Configurations that differ in what is switched off are the same.
        _, first = np.unique(np.where(np.isnan(legal), -1.0, legal), axis=0, return_index=True)
        return legal[np.sort(first)]

    def _raw(self, n: int, generator: np.random.Generator) -> Floats:
        legacy = np.random.RandomState(generator.integers(2**32, dtype=np.uint32))
        columns = [h._vector_dist.sample_vector(n=n, seed=legacy) for h in self._hyperparameters]
        for i, h in enumerate(self._hyperparameters):
            if isinstance(h, NormalIntegerHyperparameter | BetaIntegerHyperparameter) and h.log:
                # ConfigSpace draws these from a grid that is not that of the integers.
                columns[i] = h.to_vector(h.to_value(columns[i]))
        return np.stack(columns, axis=1).astype(np.float64)

    def _legal(self, rows: Floats) -> Floats:
        # ConfigSpace takes a column for each configuration.
        matrix = np.ascontiguousarray(rows.T)
        for children, condition in self._conditions:
            satisfied = condition.satisfied_by_vector_array(matrix)
            matrix[np.ix_(children, ~satisfied)] = np.nan
        forbidden = np.zeros(matrix.shape[1], dtype=np.bool_)
        for clause in self._clauses:
            forbidden |= clause.is_forbidden_vector_array(matrix)
        return np.ascontiguousarray(matrix[:, ~forbidden].T)


def fingerprints(rows: Floats) -> list[bytes]:
    """Returns the same bytes for equal rows; rounded, as a row that went through a configuration is in its last digits."""
    rounded = np.round(np.where(np.isnan(rows), -1.0, rows), 9) + 0.0
    return [row.tobytes() for row in rounded]


def _n_values(hyperparameter: Hyperparameter[Any, Any]) -> float:
    return 1.0 if isinstance(hyperparameter, Constant) else float(hyperparameter.size)


def _has_shape(hyperparameter: Hyperparameter[Any, Any]) -> bool:
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return len(set(hyperparameter.probabilities)) > 1
    return isinstance(
        hyperparameter,
        NormalFloatHyperparameter | NormalIntegerHyperparameter | BetaFloatHyperparameter | BetaIntegerHyperparameter,
    )


def _is_index(hyperparameter: Hyperparameter[Any, Any]) -> bool:
    return isinstance(hyperparameter, CategoricalHyperparameter | OrdinalHyperparameter)


def _width(hyperparameter: Hyperparameter[Any, Any]) -> int:
    return len(hyperparameter.choices) if isinstance(hyperparameter, CategoricalHyperparameter) else 1


def _all_values(hyperparameter: Hyperparameter[Any, Any]) -> Floats:
    n_values = int(_n_values(hyperparameter))
    if isinstance(hyperparameter, Constant):
        return np.asarray([hyperparameter.to_vector(hyperparameter.value)], dtype=np.float64)
    if _is_index(hyperparameter):
        return np.arange(n_values, dtype=np.float64)
    assert isinstance(hyperparameter, NumericalHyperparameter)
    values = np.arange(int(hyperparameter.lower), int(hyperparameter.upper) + 1)
    return np.asarray(hyperparameter.to_vector(values), dtype=np.float64)


def _grid(hyperparameter: Hyperparameter[Any, Any]) -> Floats:
    """Returns all values, or so many of a number that they tell the highest density."""
    if _n_values(hyperparameter) <= N_GRID:
        return _all_values(hyperparameter)
    values = np.linspace(0.0, 1.0, N_GRID)
    is_whole = np.isfinite(_n_values(hyperparameter))
    return np.asarray(hyperparameter.to_vector(hyperparameter.to_value(values)) if is_whole else values)


def _stepped(
    hyperparameter: Hyperparameter[Any, Any], values: Floats, step: Floats, generator: np.random.Generator
) -> Floats:
    if not len(values):
        return values
    if isinstance(hyperparameter, CategoricalHyperparameter):
        n_choices = len(hyperparameter.choices)
        return (values + generator.integers(1, n_choices, size=len(values))) % n_choices
    n_values = _n_values(hyperparameter)
    span = n_values - 1.0 if isinstance(hyperparameter, OrdinalHyperparameter) else 1.0
    moves = step * generator.standard_normal(len(values)) * span
    if isinstance(hyperparameter, OrdinalHyperparameter):
        away = np.where(moves < 0, np.minimum(-1.0, np.round(moves)), np.maximum(1.0, np.round(moves)))
        moved = np.clip(values + away, 0.0, n_values - 1.0)
        # What cannot go further turns back: a step changes the value.
        return np.asarray(np.where(moved == values, values - np.sign(away), moved), dtype=np.float64)
    # Optima often lie on a bound, so that what would leave the range stays on it.
    moved = np.asarray(np.clip(values + moves, 0.0, 1.0), dtype=np.float64)
    if not np.isfinite(n_values):
        return moved
    assert isinstance(hyperparameter, NumericalHyperparameter)
    return _to_other_integers(hyperparameter, values, moved, moves)


def _to_other_integers(
    hyperparameter: NumericalHyperparameter[Any, Any], values: Floats, moved: Floats, moves: Floats
) -> Floats:
    """Returns the rows' nearest integers, or the next one where that is the integer they came from."""
    before = np.asarray(hyperparameter.to_value(values), dtype=np.int64)
    after = np.asarray(hyperparameter.to_value(moved), dtype=np.int64)
    low, high = int(hyperparameter.lower), int(hyperparameter.upper)
    further = before + np.where(moves < 0, -1, 1)
    further = np.where(further < low, before + 1, np.where(further > high, before - 1, further))
    return np.asarray(hyperparameter.to_vector(np.where(after == before, further, after)), dtype=np.float64)
