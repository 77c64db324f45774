"""Comparing fronts, and samples of runs: pure functions of losses (smaller is better)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsnn_hpo.pareto import REFERENCE_MARGIN, Losses, hypervolume

_N_DRAWN = 9999


@dataclass(frozen=True, slots=True)
class Box:
    """The part of the space of losses in which fronts are compared: from the best, ``ideal``, to ``reference``, shape (m,)."""

    ideal: Losses
    reference: Losses

    @property
    def volume(self) -> float:
        """Returns its volume, in the product of the objectives' units."""
        return float(np.prod(self.reference - self.ideal))

    def share(self, losses: npt.ArrayLike) -> float:
        """Returns the share of the box that a front, shape (n, m), dominates, 0 to 1: its relative hypervolume."""
        return hypervolume(losses, self.reference) / self.volume


def common_box(fronts: Sequence[Losses]) -> Box:
    """Returns the box of several fronts: from the best of each objective on any of them to a little beyond the worst.

    Beyond by 10 % of the range, so that the extreme members count, too (a reference of 1.1 after scaling, as Ishibuchi
    et al. 2018 have it). Linear in each objective: the order of fronts does then not depend on how they are scaled.

    Args:
        fronts: each of shape (n, m), at least one member in all.
    """
    points = np.concatenate([np.asarray(front, dtype=np.float64) for front in fronts])
    ideal, worst = points.min(axis=0), points.max(axis=0)
    spread = np.where(worst > ideal, worst - ideal, np.maximum(np.abs(worst), 1e-12))
    return Box(ideal, np.asarray(worst + REFERENCE_MARGIN * spread, dtype=np.float64))


def coverage(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Returns the share of ``other``'s rows that some row of ``one`` dominates or equals, 0 to 1.

    Zitzler and Thiele's C metric (1998); C(A, B) and C(B, A) do not add up to 1.

    Args:
        one: shape (n, m).
        other: shape (k, m), k > 0.
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if not len(a):
        return 0.0
    return float((a[:, None, :] <= b[None, :, :]).all(axis=2).any(axis=0).mean())


def attained(fronts: Sequence[Losses], goals: npt.ArrayLike) -> Losses:
    """Returns the share of fronts that attain each goal: have a member no worse in anything; shape (k,).

    The empirical attainment function (Fonseca and Fleming 1996).

    Args:
        fronts: of several runs, each of shape (n, m).
        goals: shape (k, m).
    """
    points = np.asarray(goals, dtype=np.float64)
    hits = [(np.asarray(front)[:, None, :] <= points[None, :, :]).all(axis=2).any(axis=0) for front in fronts]
    return np.asarray(np.mean(hits, axis=0), dtype=np.float64)


def attainment_surface(fronts: Sequence[Losses], level: float) -> Losses:
    """Returns the corners of the surface that a share ``level`` of the fronts attains, shape (k, 2), left to right.

    The best goals that at least that share of runs attains (Fonseca and Fleming 1996; how to draw them: Knowles 2005):
    0.5 is the median front of several runs. It has no corner where so many do not get.

    Args:
        fronts: of several runs, each of shape (n, 2).
        level: above 0, at most 1.
    """
    needed = max(1, math.ceil(level * len(fronts) - 1e-9))
    points = np.concatenate([np.asarray(front, dtype=np.float64).reshape(-1, 2) for front in fronts])
    corners: list[tuple[float, float]] = []
    lowest = np.inf
    for x in np.unique(points[:, 0]):
        reached = sorted(_best_second(front, float(x)) for front in fronts)[needed - 1]
        if reached < lowest:
            corners.append((float(x), reached))
            lowest = reached
    return np.asarray(corners, dtype=np.float64).reshape(-1, 2)


def _best_second(front: Losses, x: float) -> float:
    """Returns the smallest second loss of those whose first is at most x; infinite if there is none."""
    points = np.asarray(front, dtype=np.float64)
    reached = points[points[:, 0] <= x, 1]
    return float(reached.min()) if len(reached) else math.inf


@dataclass(frozen=True, slots=True)
class Difference:
    """Whether two samples of runs differ.

    Attributes:
        test: "Mann-Whitney", or "Wilcoxon" of pairs with equal seeds.
        p: two-sided, exact, ties included; None if all values are equal.
        least_p: that so few runs could give, however much they differ.
        effect: the probability that a run of the first sample is better than one of the second, ties counting half
            (Vargha and Delaney 2000): 0.5 is no difference.
    """

    test: str
    p: float | None
    least_p: float
    effect: float


def _least_p(n_ways: int) -> float:
    return min(1.0, 2 / min(n_ways, _N_DRAWN + 1))


def mann_whitney(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Returns whether values (larger is better) of one sample tend to be larger than the other's.

    The two-sided test of Mann and Whitney (1947) over all ways of dealing the values to the samples, or 9,999 of them
    drawn at random where there are more.
    """
    from scipy.stats import PermutationMethod, mannwhitneyu

    n, k = len(one), len(other)
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    wins = (a[:, None] > b[None, :]).mean() + 0.5 * (a[:, None] == b[None, :]).mean()
    p = None
    if np.ptp(np.concatenate([a, b])) > 0:
        p = float(mannwhitneyu(a, b, method=PermutationMethod(_N_DRAWN, rng=np.random.default_rng(0))).pvalue)
    return Difference("Mann-Whitney", p, _least_p(math.comb(n + k, n)), float(wins))


def wilcoxon(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Returns whether values (larger is better) of one sample tend to be larger than those they are paired with.

    The two-sided signed-rank test of Wilcoxon (1945) over all signs of the differences, or 9,999 drawn at random. Pairs
    without a difference are left out.
    """
    from scipy.stats import PermutationMethod
    from scipy.stats import wilcoxon as signed_rank

    differences = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    wins = float((differences > 0).mean() + 0.5 * (differences == 0).mean())
    rest = differences[differences != 0]
    p = None
    if len(rest):
        p = float(signed_rank(rest, method=PermutationMethod(_N_DRAWN, rng=np.random.default_rng(0))).pvalue)
    return Difference("Wilcoxon", p, _least_p(2 ** len(differences)), wins)
