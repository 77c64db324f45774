"""Expected hypervolume improvement in closed form, for independent normal predictions (Emmerich et al. 2011).

The region that a front leaves undominated, up to the reference point, is cut into disjoint boxes. A point ``z`` improves
the hypervolume by ``sum over boxes of prod over objectives of length of [lower, upper] above z``, whose expectation is a
product of one-dimensional ones (as in Yang et al. 2019).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from dsnn_hpo.pareto import non_dominated

Floats = npt.NDArray[np.float64]

MAX_BOXES = 1000
MAX_MEMBERS_OF_MANY = 40
"""Of a front of four objectives or more, whose boxes grow with the square of its members, in seconds."""
BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class Boxes:
    """Disjoint boxes, by indices into each objective's sorted ``edges`` (the first of which is minus infinity).

    Attributes:
        edges: for each objective, the coordinates between which boxes lie.
        lower: shape (n_boxes, m).
        upper: shape (n_boxes, m).
    """

    edges: tuple[Floats, ...]
    lower: npt.NDArray[np.intp]
    upper: npt.NDArray[np.intp]


def undominated(losses: Floats, reference: Floats) -> Boxes:
    """Returns the boxes between a front and the reference point; of a front with too many boxes, some members are left out.

    Args:
        losses: shape (n, m); rows that are dominated or beyond the reference do not matter.
        reference: shape (m,).
    """
    front = losses[(losses < reference).all(axis=1)]
    front = np.unique(front[non_dominated(front)], axis=0)
    if len(reference) > 3 and len(front) > MAX_MEMBERS_OF_MANY:
        front = _thinned(front, MAX_MEMBERS_OF_MANY)
    while True:
        edges = tuple(
            np.concatenate([[-np.inf], np.unique(front[:, j]), [reference[j]]]) for j in range(len(reference))
        )
        index = np.stack([np.searchsorted(e, front[:, j]) for j, e in enumerate(edges)], axis=1)
        boxes = _cut(index, [len(e) - 1 for e in edges])
        if len(boxes) <= MAX_BOXES or len(reference) < 3:
            bounds = np.asarray(boxes, dtype=np.intp).reshape(-1, 2, len(reference))
            return Boxes(edges, bounds[:, 0], bounds[:, 1])
        front = _thinned(front, max(4, int(0.8 * len(front))))


def _cut(index: npt.NDArray[np.intp], last: list[int]) -> list[tuple[list[int], list[int]]]:
    """Returns (lower, upper) of the boxes of a front given as indices of edges, sweeping the last objective."""
    if len(last) == 1:
        return [([0], [int(index.min(initial=last[0]))])]
    boxes: list[tuple[list[int], list[int]]] = []
    levels = [0, *sorted(set(index[:, -1].tolist())), last[-1]]
    for low, high in itertools.pairwise(levels):
        below = index[index[:, -1] <= low][:, :-1]
        below = below[non_dominated(below)] if len(below) else below
        boxes.extend(([*lower, low], [*upper, high]) for lower, upper in _cut(below, last[:-1]))
    return boxes


def _thinned(front: Floats, n: int) -> Floats:
    """Returns ``n`` members that are far from each other, the extremes among them."""
    low, high = front.min(axis=0), front.max(axis=0)
    scaled = (front - low) / np.where(high > low, high - low, 1.0)
    kept = list(dict.fromkeys(int(i) for i in scaled.argmin(axis=0)))
    distance = np.min([((scaled - scaled[i]) ** 2).sum(axis=1) for i in kept], axis=0)
    while len(kept) < n:
        kept.append(int(distance.argmax()))
        distance = np.minimum(distance, ((scaled - scaled[kept[-1]]) ** 2).sum(axis=1))
    return np.asarray(front[np.sort(kept)], dtype=np.float64)


def expected_improvement(boxes: Boxes, means: Floats, variances: Floats) -> Floats:
    """Returns the expected hypervolume improvement, shape (n,), in the product of the objectives' units.

    With one objective it is the expected improvement.

    Args:
        boxes: what is undominated.
        means: shape (n, m).
        variances: shape (n, m).
    """
    sds = np.sqrt(variances)
    gains = [_below(edges, means[:, j], sds[:, j]) for j, edges in enumerate(boxes.edges)]
    n, n_boxes = len(means), len(boxes.lower)
    if means.shape[1] <= 2 or n * n_boxes <= BLOCK:
        return _summed(boxes, gains)
    step = max(1, BLOCK // max(1, n_boxes))
    return np.concatenate([_summed(boxes, [g[i : i + step] for g in gains]) for i in range(0, n, step)])


def _summed(boxes: Boxes, gains: list[Floats]) -> Floats:
    product: Floats | None = None
    for j, gain in enumerate(gains):
        length = gain[:, boxes.upper[:, j]] - gain[:, boxes.lower[:, j]]
        product = length if product is None else product * length
    assert product is not None
    return np.asarray(product.sum(axis=1), dtype=np.float64)


def _below(edges: Floats, mean: Floats, sd: Floats) -> Floats:
    """Returns E[max(edge - z, 0)] for each normal z and edge, shape (n, n_edges)."""
    gap = edges[1:][None, :] - mean[:, None]
    z = gap / sd[:, None]
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    gain = np.maximum(gap * ndtr(z) + sd[:, None] * density, 0.0)
    return np.concatenate([np.zeros((len(mean), 1)), gain], axis=1)
