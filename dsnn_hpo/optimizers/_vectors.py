"""A ConfigSpace as rows of numbers, many at a time: drawing, mutating, and what conditions and clauses forbid.

A row holds ConfigSpace's own vector of a configuration: a number in [0, 1] for each float and integer, an index for
each categorical and ordinal, NaN for what a condition switches off.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ConfigSpace import Configuration, ConfigurationSpace
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Hyperparameter,
    NumericalHyperparameter,
    OrdinalHyperparameter,
)

from dsnn_hpo.optimizers._kinds import all_values, is_index, n_values_of, width
from dsnn_hpo.optimizers._priors import AnyHyperparameter, Prior
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MAX_ENUMERATED = 20_000
STEP_SIZES = (0.3, 0.1, 0.03, 0.01)
"""Standard deviations of a mutation, in a hyperparameter's range."""


class VectorSpace:
    """The rows of a space.

    Args:
        space: is copied, and left as it is.
        priors: for each objective, what is believed of its best configurations, see ``Prior``, and {} at last; none at all: what
            the space says of all.

    Attributes:
        n_free: hyperparameters that are no constants.
        n_columns: of a row.
        priors: where the best configurations are believed to be: that of the space alone, or those of the objectives and it.
        groups: shape (n_features,), the hyperparameter, counted from 0, that each column of ``features`` is of.
    """

    def __init__(self, space: ConfigurationSpace, priors: Sequence[Mapping[str, AnyHyperparameter]] = ()) -> None:
        self._space = copy.deepcopy(space)
        self._hyperparameters: tuple[Hyperparameter[Any, Any], ...] = tuple(self._space.values())
        self._free = [i for i, h in enumerate(self._hyperparameters) if n_values_of(h) > 1]
        self.n_free = len(self._free)
        self.n_columns = len(self._hyperparameters)
        widths = [width(self._hyperparameters[i]) for i in self._free]
        self.groups: npt.NDArray[np.intp] = np.repeat(np.arange(len(widths)), widths)
        self.priors = tuple(Prior(self._hyperparameters, stated) for stated in priors or ({},))
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

    def draw(self, n: int, generator: np.random.Generator, priors: Sequence[Prior] = ()) -> Floats:
        """Returns at most ``n`` legal rows, each drawn from any of the priors, or of others; fewer where many are forbidden."""
        if n < 1:
            return np.empty((0, self.n_columns))
        found: list[Floats] = []
        n_found = 0
        for _ in range(20):
            rows = self._legal(self._raw(max(2 * (n - n_found), 8), generator, priors))
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
                span = max(1.0, n_values_of(hyperparameter) - 1.0) if is_index(hyperparameter) else 1.0
                columns.append(np.where(np.isnan(values), 0.5, values / span))
        return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0))

    def enumerate(self) -> Floats | None:
        """Returns every legal row, or None where there are more than ``MAX_ENUMERATED``, or infinitely many."""
        sizes = [n_values_of(self._hyperparameters[i]) for i in self._free]
        if np.prod([float(size) for size in sizes]) > MAX_ENUMERATED:
            return None
        rows = np.zeros((1, self.n_columns))
        for index, hyperparameter in enumerate(self._hyperparameters):
            values = all_values(hyperparameter)
            rows = np.repeat(rows, len(values), axis=0)
            rows[:, index] = np.tile(values, len(rows) // len(values))
        legal = self._legal(rows)
        # Configurations that differ in what is switched off are the same.
        _, first = np.unique(np.where(np.isnan(legal), -1.0, legal), axis=0, return_index=True)
        return legal[np.sort(first)]

    def _raw(self, n: int, generator: np.random.Generator, priors: Sequence[Prior] = ()) -> Floats:
        drawn = [prior.draw(n, generator) for prior in priors or self.priors]
        if len(drawn) == 1:
            return drawn[0]
        return np.stack(drawn)[generator.integers(len(drawn), size=n), np.arange(n)]

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


def _stepped(
    hyperparameter: Hyperparameter[Any, Any], values: Floats, step: Floats, generator: np.random.Generator
) -> Floats:
    if not len(values):
        return values
    if isinstance(hyperparameter, CategoricalHyperparameter):
        n_choices = len(hyperparameter.choices)
        return (values + generator.integers(1, n_choices, size=len(values))) % n_choices
    n_values = n_values_of(hyperparameter)
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
