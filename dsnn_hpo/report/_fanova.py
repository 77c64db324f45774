"""Functional ANOVA of trees: which share of a tree's variance each input, and each pair, is the cause of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dsnn_hpo.report._forest import Array, Leaves

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Domain:
    """What values an input takes, uniformly: from ``low`` to ``high``, or, ``discrete``, the whole numbers between.

    A discrete one has its bounds half a step beyond its numbers: 0, 1 and 2 lie between -0.5 and 2.5.
    """

    low: float
    high: float
    discrete: bool = False


@dataclass(frozen=True, slots=True)
class Variances:
    """A tree's variance, that of each input's main effect, and that of interactions: what two inputs do beyond that."""

    total: float
    main: tuple[float, ...]
    pairs: Mapping[Pair, float]


def decompose(leaves: Leaves, domains: Sequence[Domain], n_in_pairs: int = 10) -> Variances:
    """Returns the functional ANOVA of a tree over its inputs' domains, exactly.

    Marginals are sums over leaves, weighted by the volume of each along the other inputs (Hutter, Hoos & Leyton-Brown
    2014, "An efficient approach for assessing hyperparameter importance", section 3 and algorithms 1 and 2).

    Args:
        leaves: of the tree, which tile the domains.
        domains: one an input.
        n_in_pairs: interactions are computed between so many inputs, those with the largest variances of their own.
    """
    boxes = _Boxes.of(leaves, domains)
    total = float(boxes.weighted @ leaves.values) - boxes.mean**2
    cells = [_cells(boxes.cuts(i), domain) for i, domain in enumerate(domains)]
    insides = [boxes.inside(i, cell.middles) for i, cell in enumerate(cells)]
    main = [
        float(cell.shares @ (boxes.density(i) @ inside - boxes.mean) ** 2)
        for i, (cell, inside) in enumerate(zip(cells, insides, strict=True))
    ]
    strongest = sorted(range(len(domains)), key=lambda i: -main[i])[:n_in_pairs]
    pairs = {}
    for i, j in combinations(sorted(strongest), 2):
        effect = insides[i].T @ (boxes.density(i, j)[:, None] * insides[j]) - boxes.mean
        pairs[i, j] = float(cells[i].shares @ effect**2 @ cells[j].shares) - main[i] - main[j]
    return Variances(total, tuple(main), pairs)


def covariances(trees: Sequence[Leaves], domains: Sequence[Domain]) -> tuple[Array, Array]:
    """Returns the covariances of several trees, and of their main effects, exactly.

    The variance of their sum weighted by ``w`` is ``w @ total @ w``, and that of an input's effect on it
    ``w @ main @ w``: one decomposition serves all weightings.

    Args:
        trees: over the same inputs.
        domains: one an input.

    Returns:
        Shapes (n_trees, n_trees) and (n_inputs, n_trees, n_trees).
    """
    all_boxes = [_Boxes.of(leaves, domains) for leaves in trees]
    means = np.array([boxes.mean for boxes in all_boxes])
    total = np.empty((len(trees), len(trees)))
    for i, one in enumerate(all_boxes):
        for j, other in enumerate(all_boxes[: i + 1]):
            total[i, j] = total[j, i] = one.product(other) - means[i] * means[j]
    main = []
    for i, domain in enumerate(domains):
        cells = _cells(np.concatenate([boxes.cuts(i) for boxes in all_boxes]), domain)
        effects = np.stack([boxes.density(i) @ boxes.inside(i, cells.middles) for boxes in all_boxes]) - means[:, None]
        main.append((effects * cells.shares) @ effects.T)
    return total, np.stack(main)


def at(leaves: Leaves, index: int, value: float) -> Leaves:
    """Returns a tree in which one input has a value, and is an input no longer."""
    kept = (leaves.lower[:, index] < value) & (value <= leaves.upper[:, index])
    lower, upper = (np.delete(bound[kept], index, axis=1) for bound in (leaves.lower, leaves.upper))
    return Leaves(lower, upper, leaves.values[kept])


@dataclass(frozen=True, slots=True)
class _Boxes:
    """A tree's leaves within the domains: bounds and shares of the domain, shape (n_leaves, n_inputs), and their values."""

    low: Array
    high: Array
    ranges: Array
    shares: Array
    values: Array

    @staticmethod
    def of(leaves: Leaves, domains: Sequence[Domain]) -> _Boxes:
        low, high = leaves.lower.copy(), leaves.upper.copy()
        for i, domain in enumerate(domains):
            for bound in (low, high):
                # A tree cuts midway between the numbers it has seen: those between belong to one side as a whole.
                cut = np.floor(bound[:, i]) + 0.5 if domain.discrete else bound[:, i]
                bound[:, i] = np.clip(cut, domain.low, domain.high)
        ranges = np.array([domain.high - domain.low for domain in domains])
        return _Boxes(low, high, ranges, (high - low) / ranges, leaves.values)

    @property
    def weighted(self) -> Array:
        """Returns each leaf's value times its share of the volume, shape (n_leaves,)."""
        return np.asarray(self.values * self.shares.prod(axis=1))

    @property
    def mean(self) -> float:
        return float(self.weighted.sum())

    def density(self, *inputs: int) -> Array:
        """Returns each leaf's value times its share of the volume along all other inputs, shape (n_leaves,)."""
        return np.asarray(self.weighted / self.shares[:, inputs].prod(axis=1))

    def cuts(self, index: int) -> Array:
        return np.concatenate([self.low[:, index], self.high[:, index]])

    def inside(self, index: int, values: Array) -> Array:
        """Returns which leaves hold which values of an input: 1 or 0, shape (n_leaves, n_values)."""
        inside = (self.low[:, index, None] < values) & (values < self.high[:, index, None])
        return inside.astype(np.float64)

    def product(self, other: _Boxes) -> float:
        """Returns the mean of the product of the two trees."""
        overlap = np.outer(self.values, other.values)
        for i, width in enumerate(self.ranges):
            low = np.maximum.outer(self.low[:, i], other.low[:, i])
            high = np.minimum.outer(self.high[:, i], other.high[:, i])
            overlap *= np.maximum(high - low, 0.0) / width
        return float(overlap.sum())


@dataclass(frozen=True, slots=True)
class _Cells:
    """An input's domain between neighbouring cuts: the middle of each cell, and its share."""

    middles: Array
    shares: Array


def _cells(cuts: Array, domain: Domain) -> _Cells:
    ends = np.unique(cuts)
    return _Cells((ends[:-1] + ends[1:]) / 2, np.diff(ends) / (domain.high - domain.low))
