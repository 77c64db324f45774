"""Where to look: at random, around the best known configurations, and then around the best found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace

N_RANDOM, N_MUTATIONS = 200, 400
N_BEST, N_CHILDREN = 6, 24
STEPS_OF_ROUNDS = ((0.1, 0.03), (0.03, 0.01), (0.01, 0.003))


def found(
    trials: Trials,
    space: VectorSpace,
    parents: Floats,
    value_of: Callable[[Floats], Floats],
    generator: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Returns new rows, shape (n, n_columns), and their values: none where all were proposed before.

    A third is random, two thirds are mutations of ``parents``; then the best have children, in rounds of smaller steps.
    """
    rows = space.draw(N_RANDOM, generator)
    if len(parents):
        chosen = parents[generator.integers(len(parents), size=N_MUTATIONS)]
        rows = np.concatenate([rows, space.mutate(chosen, generator)])
    rows = rows[trials.is_new(rows)]
    values = value_of(rows) if len(rows) else np.empty(0)
    for steps in STEPS_OF_ROUNDS:
        best = rows[np.argsort(-values, kind="stable")[:N_BEST]]
        children = space.mutate(np.repeat(best, N_CHILDREN, axis=0), generator, steps)
        children = children[trials.is_new(children)]
        if len(children):
            rows = np.concatenate([rows, children])
            values = np.concatenate([values, value_of(children)])
    return rows, values
