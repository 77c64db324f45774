"""Choosing a member of a front: pure functions of losses (smaller is better)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsnn_hpo.pareto import Losses, non_dominated

RHO = 0.05
"""The weight of the sum in the augmented Chebyshev distance, as in ParEGO (Knowles 2006)."""

_WIDE = 10.0
_EQUAL = 1e-12


def unit_scaled(losses: npt.ArrayLike) -> Losses:
    """Returns the rows scaled to 0 (the best of an objective among them) to 1 (the worst), shape (n, m).

    On a logarithmic scale where an objective spans more than a decade: there factors count, not differences. An
    objective in which all rows agree is 0.

    Args:
        losses: shape (n, m), smaller is better.
    """
    points = np.asarray(losses, dtype=np.float64)
    if not points.size:
        return points
    columns = np.stack([_logarithmic_if_wide(column) for column in points.T], axis=1)
    low, high = columns.min(axis=0), columns.max(axis=0)
    return np.asarray((columns - low) / np.where(high > low, high - low, 1.0), dtype=np.float64)


def is_wide(losses: npt.ArrayLike) -> bool:
    """Returns whether the values of one objective, shape (n,), are of one sign and span more than a decade."""
    column = np.asarray(losses, dtype=np.float64)
    if not column.size:
        return False
    size = np.abs(column)
    of_one_sign = bool((column > 0).all() or (column < 0).all())
    return of_one_sign and bool(size.max() > _WIDE * size.min())


def _logarithmic_if_wide(column: Losses) -> Losses:
    # The loss of what is maximised is negative: the larger its size, the better.
    return np.sign(column) * np.log(np.abs(column)) if is_wide(column) else column


def chebyshev(losses: npt.ArrayLike, weights: npt.ArrayLike, rho: float = RHO) -> Losses:
    """Returns each row's augmented weighted Chebyshev distance to the best of each objective, shape (n,).

    ``max_i(w_i z_i) + rho * sum_i(w_i z_i)`` of the losses ``z`` scaled by ``unit_scaled`` and weights that sum to 1
    (Steuer and Choo 1983; in this form Knowles 2006, eq. 2). Any member of a front is the smallest under some
    weights, also where the front bends inwards, which a weighted sum never chooses.

    Args:
        losses: shape (n, m), of the whole front, which scales them.
        weights: shape (m,), none negative, not all 0; an objective without weight does not count.
        rho: prefers, among rows of one maximum, what is better in the rest.
    """
    weight = np.asarray(weights, dtype=np.float64)
    terms = unit_scaled(losses) * (weight / weight.sum())
    return np.asarray(terms.max(axis=1) + rho * terms.sum(axis=1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Way:
    """The way along a front to a smaller error, and what it costs.

    Attributes:
        gain: by which the error falls: a step, or less where the front ends before.
        extra_loss: by which the loss of the other objective grows; negative if it falls.
        before: the row from which the last stretch leads, perhaps the start itself.
        after: the row to which it leads.
        share: of the last stretch, 0 to 1.
    """

    gain: float
    extra_loss: float
    before: int
    after: int
    share: float


def next_step(errors: npt.ArrayLike, losses: npt.ArrayLike, start: int, step: float = 0.01) -> Way | None:
    """Returns the way from a member of a front to an error smaller by ``step``, None if no member has a smaller one.

    Linear between neighbours. Of more than two objectives these are neighbours on the front of the two alone.

    Args:
        errors: shape (n,), of the front's members.
        losses: shape (n,), of the objective that pays.
        start: the row to start from.
        step: as far as the front goes; 0.01 is one percentage point.
    """
    error, loss = np.asarray(errors, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    better = np.flatnonzero(error < error[start] - _EQUAL)
    if not len(better):
        return None
    kept = better[non_dominated(np.stack([error[better], loss[better]], axis=1))]
    target = error[start] - step
    path = [start, *kept[np.argsort(-error[kept], kind="stable")].tolist()]
    last = next((i for i, row in enumerate(path) if error[row] <= target + _EQUAL), len(path) - 1)
    before, after = path[last - 1], path[last]
    target = max(target, float(error[after]))
    stretch = error[before] - error[after]
    share = min(1.0, float((error[before] - target) / stretch)) if stretch > 0 else 1.0
    reached = loss[before] + share * (loss[after] - loss[before])
    return Way(float(error[start] - target), float(reached - loss[start]), before, after, share)
