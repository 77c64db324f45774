"""What a training costs, relative to a mean one at full fidelity: in epochs, seconds or joules."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace

Unit = Literal["epochs", "seconds", "energy"]

MAX_ROWS = 500
MIN_ROWS = 8
RIDGE = 1.0
RANGE = np.log(10.0)


class Costs:
    """The cost of an epoch of a configuration over that of a mean one, 1/10 to 10.

    The logarithm of seconds (joules) an epoch is a ridge regression on the features; there is little to learn, as the
    sizes of a network are hyperparameters. In epochs all cost the same.
    """

    def __init__(self, trials: Trials, space: VectorSpace, unit: Unit) -> None:
        self._weights: Floats | None = None
        if unit == "epochs":
            return
        told = [(o.index, (o.seconds if unit == "seconds" else o.energy_j), o.n_epochs) for o in trials.outcomes]
        told = [(index, cost, n) for index, cost, n in told if cost > 0 and n > 0][-MAX_ROWS:]
        if len(told) < MIN_ROWS:
            return
        features = space.features(trials.rows([index for index, _, _ in told]))
        self._centre = features.mean(axis=0)
        rates = np.log([cost / n for _, cost, n in told])
        centred = features - self._centre
        gram = centred.T @ centred + RIDGE * np.eye(features.shape[1])
        self._weights = np.linalg.solve(gram, centred.T @ (rates - rates.mean()))

    def relative(self, features: Floats) -> Floats:
        """Returns the relative cost of an epoch for each row of features, shape (n,)."""
        if self._weights is None:
            return np.ones(len(features))
        return np.asarray(np.exp(np.clip((features - self._centre) @ self._weights, -RANGE, RANGE)), dtype=np.float64)
