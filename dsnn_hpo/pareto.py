"""Pareto dominance, fronts and hypervolume: pure functions of losses (smaller is better) and of results."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dsnn_hpo.trial import Objective, Result, TrialState

Losses = npt.NDArray[np.float64]

N_REFERENCE_RESULTS = 8
REFERENCE_MARGIN = 0.1


def non_dominated(losses: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Returns a mask, shape (n,), of the rows that no other row dominates; equal rows all stay.

    Args:
        losses: shape (n, m), smaller is better.
    """
    points = _as_points(losses)
    if points.shape[1] <= 2 or not len(points):
        return _non_dominated_of_two(points)
    mask = np.zeros(len(points), dtype=np.bool_)
    # In lexicographic order no row is dominated by a later one, so that each is compared with the front so far only.
    front = np.empty_like(points)
    n_front = 0
    for index in np.lexsort(points.T[::-1]):
        point = points[index]
        no_worse = (front[:n_front] <= point).all(axis=1)
        if (no_worse & (front[:n_front] < point).any(axis=1)).any():
            continue
        front[n_front] = point
        n_front += 1
        mask[index] = True
    return mask


def _non_dominated_of_two(points: Losses) -> npt.NDArray[np.bool_]:
    """Returns the same of two objectives or one, by sorting."""
    mask = np.zeros(len(points), dtype=np.bool_)
    if not len(points):
        return mask
    first, second = points[:, 0], points[:, -1]
    order = np.lexsort((second, first))
    x, y = first[order], second[order]
    best = np.minimum.accumulate(y)
    # Better in the second objective than all before, which are no worse in the first one; or equal to one that is.
    better = np.concatenate([[True], y[1:] < best[:-1]])
    leader = np.maximum.accumulate(np.where(better, np.arange(len(y)), 0))
    mask[order] = better | ((x == x[leader]) & (y == y[leader]))
    return mask


def fronts(losses: npt.ArrayLike) -> Iterator[npt.NDArray[np.intp]]:
    """Yields the numbers of the rows that no other dominates, then of those that none of the rest does, and so on.

    Args:
        losses: shape (n, m), smaller is better.
    """
    points = _as_points(losses)
    left = np.arange(len(points))
    if len(points) and points.shape[1] <= 2:
        rank = _ranks_of_two(points)
        by_rank = np.argsort(rank, kind="stable")
        yield from np.split(by_rank, np.flatnonzero(np.diff(rank[by_rank])) + 1)
        return
    while len(left):
        mask = non_dominated(points[left])
        yield left[mask]
        left = left[~mask]


def ranks(losses: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Returns the non-domination rank of each row, shape (n,), the front being 0 (NSGA-II, Deb et al. 2002)."""
    rank = np.zeros(len(_as_points(losses)), dtype=np.int64)
    for current, members in enumerate(fronts(losses)):
        rank[members] = current
    return rank


def _ranks_of_two(points: Losses) -> npt.NDArray[np.int64]:
    """Returns the same of two objectives or one: a row is in the first front whose least second loss so far is higher."""
    # In lexicographic order no row is dominated by a later one.
    rows, inverse = np.unique(points[:, [0, -1]], axis=0, return_inverse=True)
    rank = np.empty(len(rows), dtype=np.int64)
    least: list[float] = []
    for i, second in enumerate(rows[:, 1].tolist()):
        rank[i] = front = bisect_right(least, second)
        least[front : front + 1] = [second]
    return rank[inverse.reshape(-1)]


def hypervolume(losses: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Returns the volume dominated by the rows and bounded by ``reference``, in the product of their units.

    Sweeps the last objective and recurses on the others (Fonseca et al. 2006, without its caching): exact for any
    number of objectives, fast for the two to four of a search.

    Args:
        losses: shape (n, m); rows that do not dominate the reference count nothing.
        reference: shape (m,), the worst point still of interest.
    """
    limit = np.asarray(reference, dtype=np.float64)
    points = _as_points(losses, n_objectives=len(limit))
    points = points[(points < limit).all(axis=1)]
    if not len(points):
        return 0.0
    return _swept_volume(points[non_dominated(points)], limit)


def _swept_volume(points: Losses, limit: Losses) -> float:
    if points.shape[1] == 1:
        return float(limit[0] - points.min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    depths = np.diff(points[:, -1], append=limit[-1])
    if points.shape[1] == 2:
        return float(depths @ (limit[0] - np.minimum.accumulate(points[:, 0])))
    volume = 0.0
    for n_included, depth in enumerate(depths, start=1):
        if depth > 0:
            slab = points[:n_included, :-1]
            volume += float(depth) * _swept_volume(slab[non_dominated(slab)], limit[:-1])
    return volume


def _as_points(losses: npt.ArrayLike, n_objectives: int = 1) -> Losses:
    points = np.asarray(losses, dtype=np.float64)
    return points.reshape(0, n_objectives) if points.size == 0 else points


def completed(results: Iterable[Result], fidelity: int | None = None) -> list[Result]:
    """Returns the completed results, in order, of one fidelity or of all."""
    done = (r for r in results if r.state is TrialState.COMPLETED)
    return [r for r in done if fidelity is None or r.trial.fidelity == fidelity]


def latest(results: Iterable[Result], fidelity: int) -> list[Result]:
    """Returns each configuration's latest completed result at exactly this fidelity."""
    return list({r.trial.key: r for r in completed(results, fidelity)}.values())


def losses_of(results: Sequence[Result], objectives: Sequence[Objective]) -> Losses:
    """Returns the results' objective losses, shape (n_results, n_objectives)."""
    rows = [[o.loss(r.values[o.name]) for o in objectives] for r in results]
    return np.asarray(rows, dtype=np.float64).reshape(len(results), len(objectives))


def front(results: Iterable[Result], objectives: Sequence[Objective], fidelity: int) -> list[Result]:
    """Returns the non-dominated results among those completed at exactly this fidelity, best first objective first.

    Results of different fidelities are never compared. A configuration evaluated twice counts once, with its latest
    result.
    """
    candidates = latest(results, fidelity)
    if not candidates:
        return []
    losses = losses_of(candidates, objectives)
    kept = np.flatnonzero(non_dominated(losses))
    return [candidates[i] for i in sorted(kept, key=lambda i: (tuple(losses[i]), candidates[i].trial.id))]


def reference_point(results: Iterable[Result], objectives: Sequence[Objective]) -> Losses | None:
    """Returns a reference point for the hypervolume, shape (m,), or None while too few results are known.

    The worst value of the first completed results of a run, whatever their fidelity, and a margin of 10 % of their
    range: it never moves afterwards, so that the hypervolume of a growing front only grows.
    """
    first = completed(results)[:N_REFERENCE_RESULTS]
    if len(first) < N_REFERENCE_RESULTS:
        return None
    losses = losses_of(first, objectives)
    worst, best = losses.max(axis=0), losses.min(axis=0)
    spread = np.where(worst > best, worst - best, np.maximum(np.abs(worst), 1e-12))
    return np.asarray(worst + REFERENCE_MARGIN * spread, dtype=np.float64)


def optimality(losses: npt.ArrayLike, deviations: npt.ArrayLike, n_draws: int = 2000, seed: int = 0) -> Losses:
    """Returns each row's probability of being non-dominated, shape (n,), where the losses are known up to an error.

    Errors are normal and independent; the share of ``n_draws`` drawn fronts that a row is on (Monte Carlo, standard error
    at most 0.5 / sqrt(n_draws)).

    Args:
        losses: shape (n, m), smaller is better.
        deviations: shape (n, m), the standard deviation of each; 0 where it is exact.
        n_draws: how many fronts to draw.
        seed: fixes the draws.
    """
    points = _as_points(losses)
    spread = np.asarray(deviations, dtype=np.float64).reshape(points.shape)
    generator = np.random.default_rng(seed)
    counts = np.zeros(len(points))
    for _ in range(n_draws):
        counts += non_dominated(points + spread * generator.standard_normal(points.shape))
    return counts / n_draws


def near_front(losses: npt.ArrayLike, margins: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Returns a mask, shape (n,), of the rows on the front and of those that would be on it if each objective were better.

    Args:
        losses: shape (n, m), smaller is better.
        margins: shape (n, m), how much better; a row is near if no other dominates it by more.
    """
    points = _as_points(losses)
    better = points - np.asarray(margins, dtype=np.float64).reshape(points.shape)
    front = points[non_dominated(points)]
    mask = np.ones(len(points), dtype=np.bool_)
    for index, point in enumerate(better):
        mask[index] = not ((front <= point).all(axis=1) & (front < point).any(axis=1)).any()
    return mask


def knee(losses: npt.ArrayLike) -> int:
    """Returns the row of a front farthest below the line (plane) between its extremes, objectives scaled to [0, 1].

    The knee of Das (1999): the member whose neighbours cost most for what they gain.
    """
    heights = knee_heights(losses)
    if not len(heights):
        raise ValueError("an empty front has no knee")
    return int(heights.argmin())


def knee_heights(losses: npt.ArrayLike) -> Losses:
    """Returns each row's height over the ideal point, shape (n,), along the normal of the plane between the extremes.

    The sum of the objectives scaled to [0, 1] by the rows; the knee is the lowest.
    """
    points = _as_points(losses)
    if not len(points):
        return np.empty(0)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)
    return np.asarray(scaled.sum(axis=1), dtype=np.float64)
