"""Configurations that were never proposed, until there are none left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from dsnn_hpo.optimizers._priors import Prior
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace

N_TRIES = 10
N_DRAWN = 64


class Fresh:
    """Draws configurations that are new to a search.

    Args:
        space: to draw from.
        trials: what was proposed.
    """

    def __init__(self, space: VectorSpace, trials: Trials) -> None:
        self._space = space
        self._trials = trials

    def one(self, generator: np.random.Generator, priors: Sequence[Prior] = ()) -> Floats | None:
        """Returns a row that is new, or None where there is none (in a large finite space: where none was found).

        Drawn from any of the space's priors, or of others.
        """
        for n_drawn in (1, *[N_DRAWN] * N_TRIES):
            rows = self._space.draw(n_drawn, generator, priors)
            new = np.flatnonzero(self._trials.is_new(rows))
            if len(new):
                return np.asarray(rows[new[0]], dtype=np.float64)
        left = self.left()
        return None if left is None or not len(left) else np.asarray(left[generator.integers(len(left))])

    def left(self) -> Floats | None:
        """Returns all rows that are new, or None where the space is too large to say."""
        return None if self._all is None else self._all[self._trials.is_new(self._all)]

    @cached_property
    def _all(self) -> Floats | None:
        return self._space.enumerate()
