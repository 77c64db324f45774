"""Evolutionary proposals: children of the best configurations of the highest rung that has enough of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnn_hpo.optimizers._fresh import Fresh
from dsnn_hpo.optimizers._halving import best_first
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace

N_PARENTS = 8
N_CHILDREN = 16
RANDOM_SHARE = 0.2
CROSSED_SHARE = 0.5


def evolved(
    space: VectorSpace, trials: Trials, fresh: Fresh, rungs: Sequence[int], generator: np.random.Generator
) -> Floats | None:
    """Returns a new row: a mutated child of one good parent or of two; a random one now and then; None where none is left.

    Parents are the better half, by non-dominated sorting and crowding, of the highest rung with ``N_PARENTS`` results;
    the better of two drawn ones is taken (binary tournament, Deb et al. 2002).
    """
    parents = _parents(trials, rungs)
    if len(parents) and generator.random() >= RANDOM_SHARE:
        rows = trials.rows(parents)
        first, second = (rows[generator.integers(len(rows), size=(N_CHILDREN, 2)).min(axis=1)] for _ in range(2))
        if generator.random() < CROSSED_SHARE:
            first = space.cross(first, second, generator)
        children = space.mutate(first, generator)
        new = np.flatnonzero(trials.is_new(children))
        if len(new):
            return np.asarray(children[new[0]], dtype=np.float64)
    return fresh.one(generator)


def _parents(trials: Trials, rungs: Sequence[int]) -> list[int]:
    """Returns configurations, best first."""
    for fidelity in reversed(rungs):
        losses = trials.at(fidelity)
        if len(losses) >= N_PARENTS:
            index = list(losses)
            order = best_first(np.asarray([losses[i] for i in index]), max(2, len(index) // 2))
            return [index[i] for i in order]
    return []
