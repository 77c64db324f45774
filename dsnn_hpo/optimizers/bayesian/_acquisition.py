"""What a configuration is worth: hypervolume to be gained at full fidelity, and what a shorter test would tell first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from dsnn_hpo.optimizers.bayesian._ehvi import Boxes, expected_improvement, undominated
from dsnn_hpo.optimizers.bayesian._model import Model

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

TILT = 3.0
CERTAIN = 1e-12
"""The variance, scaled, of what is known."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What must hold: the outputs concerned, shape (k,), and the highest scaled loss of each."""

    outputs: Index
    limits: Floats

    def probability(self, means: Floats, variances: Floats) -> Floats:
        """Returns the probability that all hold, shape (n,), of predictions of shape (n, n_outputs)."""
        room, variances = self.limits - means[:, self.outputs], variances[:, self.outputs]
        z = room / np.sqrt(variances)
        # What is known may be as high as the limit.
        z = np.where((variances <= CERTAIN) & (room >= 0), np.inf, z)
        return np.asarray(ndtr(z).prod(axis=1), dtype=np.float64)

    def hold(self, means: Floats) -> Mask:
        """Returns a mask of the predictions that keep them."""
        return np.asarray((means[:, self.outputs] <= self.limits).all(axis=1), dtype=np.bool_)


def with_exact(means: Floats, exact: Floats) -> Floats:
    """Returns predicted means, what is known exactly (not NaN) in place of them."""
    return np.where(np.isnan(exact), means, exact)


class Acquisition:
    """The expected hypervolume improvement at full fidelity, times the probability of keeping the bounds and of success.

    While no known configuration is predicted to keep the bounds, it is that probability alone. Where objectives have
    weights, hypervolume counts by an exponential density that falls along the weightier ones (as in Zitzler et al. 2007),
    taken at the predicted mean.

    Args:
        model: predicts the objectives, and after them further outputs that have bounds.
        front: shape (n, n_outputs), the predictions whose front is to be improved.
        reference: shape (n_objectives,), scaled: the worst values still of interest.
        bounds: to be kept.
        success: the probability that a configuration does not fail, of its features.
        weights: shape (n_objectives,), how much each objective matters, 1 in the mean.
    """

    def __init__(
        self,
        model: Model,
        front: Floats,
        reference: Floats,
        bounds: Bounds,
        success: Callable[[Floats], Floats] | None = None,
        weights: Floats | None = None,
    ) -> None:
        self._model = model
        self._m = len(reference)
        self._bounds = bounds
        self._success = success
        kept = front[bounds.hold(front)]
        self._tilt = None if weights is None else TILT * (weights - 1.0)
        best = kept[:, : self._m].min(axis=0, initial=np.inf)
        self._reference = reference
        self._best = np.minimum(best, reference - 1.0)
        is_bounded = len(bounds.outputs) > 0
        self._boxes: Boxes | None = undominated(kept[:, : self._m], reference) if len(kept) or not is_bounded else None

    def __call__(self, features: Floats, exact: Floats | None = None) -> Floats:
        """Returns the value of training each configuration to the end, shape (n,).

        Args:
            features: shape (n, d).
            exact: shape (n, n_outputs), scaled losses that are known, NaN where they are not.
        """
        means, variances = self._model.predict(features)
        if exact is not None:
            means, variances = with_exact(means, exact), np.where(np.isnan(exact), variances, CERTAIN)
        return self._of(means, variances) * self._chance(features)

    def after_tests(self, feature: Floats, bias: Floats, draws: Floats, exact: Floats | None = None) -> Floats:
        """Returns the values that one configuration may have after a test, shape (n_levels, n_draws).

        Args:
            feature: shape (d,).
            bias: shape (n_levels,), of the fidelities that it could be tested at.
            draws: shape (n_draws, n_outputs), standard normal: how the tests come out.
            exact: shape (n_outputs,), as above.
        """
        shape = (len(bias), len(draws), draws.shape[1])
        means, variances = np.empty(shape), np.empty(shape)
        for j, process in enumerate(self._model.processes):
            mean, covariance = process.paths(feature, np.concatenate([[0.0], bias]))
            tested = np.maximum(np.diagonal(covariance)[1:], 1e-12) + process.noise(bias)
            moves = covariance[0, 1:] / np.sqrt(tested)
            means[:, :, j] = mean[0] + moves[:, None] * draws[:, j]
            variances[:, :, j] = np.maximum(covariance[0, 0] - moves**2, CERTAIN)[:, None]
        if exact is not None:
            means, variances = with_exact(means, exact), np.where(np.isnan(exact), variances, CERTAIN)
        n_outputs = shape[2]
        values = self._of(means.reshape(-1, n_outputs), variances.reshape(-1, n_outputs))
        return np.asarray(values.reshape(shape[:2]) * self._chance(feature[None])[0], dtype=np.float64)

    def _of(self, means: Floats, variances: Floats) -> Floats:
        value = self._bounds.probability(means, variances)
        if self._boxes is None:
            return value
        means, variances = means[:, : self._m], variances[:, : self._m]
        value = value * expected_improvement(self._boxes, means, variances)
        if self._tilt is None:
            return value
        share = np.clip((means - self._best) / (self._reference - self._best), 0.0, 1.0)
        return np.asarray(value * np.exp(-share @ self._tilt), dtype=np.float64)

    def _chance(self, features: Floats) -> Floats:
        return np.ones(len(features)) if self._success is None else self._success(features)


def rates_of_tests(after: Floats, test_costs: Floats, rest_costs: Floats) -> Floats:
    """Returns the value per cost of testing a configuration first and training on only if the test goes well, shape (k,).

    After a test at level i the best outcomes are trained on, the others given up; the share ``p`` that goes on is chosen
    to maximise ``E[value after; goes on] / (test_costs_i + p rest_costs_i)``, the optimal ratio of a two-stage search
    (as in Weitzman 1979). Training on at once is worth ``value / cost``: the two compare.

    Args:
        after: shape (k, n_draws), see ``Acquisition.after_tests``.
        test_costs: shape (k,).
        rest_costs: shape (k,), of going on to full fidelity.
    """
    n_draws = after.shape[1]
    best = -np.sort(-after, axis=1)
    share = np.arange(1, n_draws + 1) / n_draws
    gains = np.cumsum(best, axis=1) / n_draws
    return np.asarray((gains / (test_costs[:, None] + share * rest_costs[:, None])).max(axis=1), dtype=np.float64)
