"""The probability that a configuration does not fail, learnt from those that did and did not."""

from __future__ import annotations

import numpy as np

from dsnn_hpo.optimizers._trials import Index, Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace
from dsnn_hpo.optimizers.bayesian import _gp, _map

MAX_ROWS = 240
LOWEST = 0.01


class Labels:
    """Which configurations failed, as a process sees them.

    Args:
        trials: what is known.
        space: of the configurations.
        n_ended: if given, what was known when so many trials had ended.

    Attributes:
        share: of the configurations that did not fail.
        data: 0 and 1 for failed and not, about ``share``; of more than ``MAX_ROWS`` the latest, failures first.
    """

    def __init__(self, trials: Trials, space: VectorSpace, n_ended: int | None = None) -> None:
        n = sum(fidelity > 0 for fidelity in trials.ends[:n_ended])
        failed = dict.fromkeys(trials.failures[: len(trials.ends[:n_ended]) - n])
        succeeded = [i for i in dict.fromkeys(o.index for o in trials.outcomes[:n]) if i not in failed]
        self.share = len(succeeded) / max(1, len(succeeded) + len(failed))
        chosen_failed = list(failed)[-MAX_ROWS // 2 :]
        chosen = [*chosen_failed, *succeeded[-(MAX_ROWS - len(chosen_failed)) :]]
        labels = np.asarray([i not in failed for i in chosen], dtype=np.float64)
        zeros = np.zeros(len(chosen))
        self.data = _gp.Data(space.features(trials.rows(chosen)), zeros, labels - self.share, zeros, zeros)

    def fit(self, groups: Index) -> _gp.Hyperparameters:
        """Returns the process's hyperparameters."""
        starts = _gp.Hyperparameters.starts(int(groups.max(initial=-1)) + 1)
        return _map.fit(self.data, groups, starts, max_evaluations=40)


class Success:
    """Returns the probability of success of features, shape (n,): the mean of a regression on the labels, within [0.01, 1].

    Least squares on labels estimate their probability; unlike a classifier's it stays at the share of all where failures
    have nothing to do with the configuration, as noise.

    Raises:
        numpy.linalg.LinAlgError: no factorisation.
    """

    def __init__(self, labels: Labels, groups: Index, hyperparameters: _gp.Hyperparameters) -> None:
        self._share = labels.share
        self._process = _gp.Process(labels.data, groups, hyperparameters)

    def __call__(self, features: Floats) -> Floats:
        """Returns the probability for each row of features, shape (n,)."""
        mean, _ = self._process.predict(features)
        return np.asarray(np.clip(self._share + mean, LOWEST, 1.0), dtype=np.float64)
