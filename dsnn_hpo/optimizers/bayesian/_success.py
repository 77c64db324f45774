"""The probability that a configuration does not fail, learnt from those that did and did not."""

from __future__ import annotations

import numpy as np

from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace
from dsnn_hpo.optimizers.bayesian._gp import correlation

MAX_ROWS = 400
PRIOR_WEIGHT = 2.0
LENGTH_PER_ROOT_DIMENSION = 0.2
LOWEST = 0.01


class Success:
    """Returns the share of successes near a configuration, drawn to the share of all where little is near.

    ``(w p + sum k_i ok_i) / (w + sum k_i)`` with a Matern-5/2 kernel ``k`` of a fixed length scale and ``w`` the weight
    of two results (Nadaraya 1964, with a prior): nothing to fit, and never confident from one failure.

    Args:
        trials: what is known.
        space: of the configurations.
    """

    def __init__(self, trials: Trials, space: VectorSpace) -> None:
        known = trials.configurations
        ended = [i for i, k in enumerate(known) if k.has_failed or k.reached]
        failed = [i for i in ended if known[i].has_failed]
        self.share = 1.0 - len(failed) / max(1, len(ended))
        # The latest of each kind: failures are few, and worth all of it.
        succeeded = [i for i in ended if not known[i].has_failed]
        chosen = failed[-MAX_ROWS // 2 :] + succeeded[-MAX_ROWS // 2 :]
        n_failed = min(len(failed), MAX_ROWS // 2)
        self._features = space.features(trials.rows(chosen))
        self._ok = np.concatenate([np.zeros(n_failed), np.ones(len(chosen) - n_failed)])
        # What was left out counts through those that were kept.
        kept_ok = max(1, len(chosen) - n_failed)
        self._weights = np.where(self._ok > 0, len(succeeded) / kept_ok, len(failed) / max(1, n_failed))
        dimension = max(1, space.n_free)
        self._lengths = np.full(self._features.shape[1], np.log(LENGTH_PER_ROOT_DIMENSION * np.sqrt(dimension)))

    def __call__(self, features: Floats) -> Floats:
        """Returns the probability for each row of features, shape (n,)."""
        near = correlation(features, self._features, self._lengths) * self._weights
        total = PRIOR_WEIGHT + near.sum(axis=1)
        return np.asarray(np.maximum((PRIOR_WEIGHT * self.share + near @ self._ok) / total, LOWEST), dtype=np.float64)
