"""Hyperparameters and figures of many results as columns of numbers: levels, or a linear or logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dsnn_hpo.report._forest import Array
from dsnn_hpo.trial import Result, Scalar

FEWEST_DECADES_FOR_LOG = 1.2
_MOST_LEVELS = 10
_FEWEST_RESULTS_A_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Column:
    """A hyperparameter, or a figure, of many results.

    Attributes:
        name: its name.
        values: one a result; None where a configuration does not have it.
        levels: its values in order, if they are choices or few numbers; they stand one apart. Else empty.
        log: whether its numbers span decades, so that they are seen by their logarithm.
    """

    name: str
    values: tuple[Scalar | None, ...]
    levels: tuple[Scalar, ...]
    log: bool

    @property
    def known(self) -> list[Scalar]:
        """Returns the values of those that have it."""
        return [value for value in self.values if value is not None]

    def position(self, value: Scalar) -> float:
        """Returns where a value stands: the number of its level from 0, itself, or its decimal logarithm."""
        if self.levels:
            return float(self.levels.index(value))
        return math.log10(float(value)) if self.log else float(value)

    def positions(self) -> Array:
        """Returns where the values stand, shape (n,); NaN where there is none."""
        place = {level: float(i) for i, level in enumerate(self.levels)}
        found = [np.nan if v is None else place[v] if self.levels else self.position(v) for v in self.values]
        return np.array(found, dtype=np.float64)

    @property
    def varies(self) -> bool:
        """Returns whether there are two values at all; having none counts as one."""
        return len(set(self.values)) > 1


def hyperparameters(results: Sequence[Result]) -> list[Column]:
    """Returns a column for each hyperparameter that differs among results, in the order of the search space."""
    names = dict.fromkeys(name for r in results for name in r.trial.config)
    columns = [column(name, [r.trial.config.get(name) for r in results]) for name in names]
    return [each for each in columns if each.varies]


def column(name: str, values: Iterable[Scalar | None]) -> Column:
    """Returns the column of these values."""
    kept = tuple(values)
    known = [value for value in kept if value is not None]
    distinct = set(known)
    numeric = all(_is_number(value) for value in distinct)
    few = len(distinct) <= _MOST_LEVELS and len(distinct) * _FEWEST_RESULTS_A_LEVEL <= len(known)
    if not numeric:
        return Column(name, kept, tuple(sorted(distinct, key=str)), log=False)
    if few:
        return Column(name, kept, tuple(sorted(distinct, key=float)), log=False)
    return Column(name, kept, (), _even_by_logarithm([float(value) for value in known]))


def spans_decades(values: Iterable[float]) -> bool:
    """Returns whether numbers are better seen by their logarithm: all positive, and far apart."""
    kept = list(values)
    return bool(kept) and min(kept) > 0 and max(kept) > min(kept) * 10**FEWEST_DECADES_FOR_LOG


def _even_by_logarithm(values: Sequence[float]) -> bool:
    """Returns whether numbers span decades and lie more evenly by their logarithm: a journal does not say how they were drawn.

    Of numbers from 0 to 1, the least may be 0.001 by chance; their middle is then far from the middle of their logarithms.
    """
    if not spans_decades(values):
        return False
    skew = [
        abs((np.median(scaled) - scaled.min()) / np.ptp(scaled) - 0.5) for scaled in (np.array(values), np.log(values))
    ]
    return bool(skew[1] < skew[0])


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
