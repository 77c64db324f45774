"""Hyperparameters of the highest posterior density (MAP)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_solve, lapack
from scipy.optimize import minimize

from dsnn_hpo.optimizers.bayesian._gp import (
    JITTER,
    LATE_EXPONENT,
    MEAN_VARIANCE,
    N_AT_FULL,
    VARIANCE_MEANS,
    Data,
    Floats,
    Groups,
    Hyperparameters,
    length_mean,
    main_effects,
    matern,
)

LENGTH_SD = float(np.sqrt(3.0))
EFFECT_SD = 2.0
SCALING_SD = 1.0
VARIANCE_SDS = np.asarray([1.0, *[1.5] * (len(VARIANCE_MEANS) - 1)])
BOUNDS_LENGTH = (np.log(0.03), np.log(300.0))
BOUNDS_EFFECT = (-8.0, 8.0)
BOUNDS_VARIANCE = (np.log(1e-7), np.log(1e3))
BOUNDS_SCALING = (-3.0, 3.0)


def fit(data: Data, groups: Groups, starts: Sequence[Hyperparameters], max_evaluations: int = 60) -> Hyperparameters:
    """Returns the hyperparameters of the highest posterior density that L-BFGS finds from any of the starts."""
    density = _Density(data, groups, len(starts[0].lengths_g))
    best, lowest = starts[0], np.inf
    for start in starts:
        found = minimize(
            density,
            density.vector(start),
            jac=True,
            method="L-BFGS-B",
            bounds=density.bounds,
            options={"maxfun": max_evaluations, "gtol": 1e-3},
        )
        if found.fun < lowest:
            best, lowest = density.updated(start, np.asarray(found.x, dtype=np.float64)), float(found.fun)
    return best


def likeliest(data: Data, groups: Groups, candidates: Sequence[Hyperparameters]) -> Hyperparameters:
    """Returns the hyperparameters of the highest posterior density."""
    density = _Density(data, groups, len(candidates[0].lengths_g))
    return min(candidates, key=lambda candidate: density(density.vector(candidate))[0])


class _Density:
    """The negative logarithm of the posterior density over the number of rows, and its gradient.

    Its vector holds the length scales of g, the effects, and the variances; with data of low fidelities also the length
    scales of h, before the variances, and r in the end.
    """

    def __init__(self, data: Data, groups: Groups, n_groups: int) -> None:
        self._data, self._groups, self._n_groups = data, groups, n_groups
        self._with_bias = bool((data.bias > 0).any())
        late = data.bias**LATE_EXPONENT
        self._early, self._late = np.outer(data.bias, data.bias), np.minimum.outer(late, late)
        self._doubt = np.outer(data.doubt, data.doubt)
        self._squares = data.features**2
        self._linear, self._curved = main_effects(data.features)
        self._n_variances = len(VARIANCE_MEANS) if self._with_bias else N_AT_FULL
        self._mean, self._sd, self._mode = self._prior()

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Returns the range of each entry of a vector."""
        bounds = [BOUNDS_LENGTH] * self._n_groups + [BOUNDS_EFFECT] * self._n_groups
        bounds += [BOUNDS_LENGTH] * (self._n_groups * self._with_bias) + [BOUNDS_VARIANCE] * self._n_variances
        return bounds + [BOUNDS_SCALING] * self._with_bias

    def vector(self, parameters: Hyperparameters) -> Floats:
        """Returns the parameters to fit."""
        of_h, scaling = ([parameters.lengths_h], [[parameters.scaling]]) if self._with_bias else ([], [])
        variances = parameters.variances[: self._n_variances]
        return np.concatenate([parameters.lengths_g, parameters.effects, *of_h, variances, *scaling])

    def updated(self, parameters: Hyperparameters, vector: Floats) -> Hyperparameters:
        """Returns parameters with those fitted replaced."""
        lengths_g, effects, lengths_h, fitted, scaling = self._parts(vector)
        lengths_h = parameters.lengths_h if lengths_h is None else lengths_h
        variances = np.concatenate([fitted, parameters.variances[len(fitted) :]])
        return Hyperparameters(lengths_g, lengths_h, effects, variances, scaling)

    def _parts(self, vector: Floats) -> tuple[Floats, Floats, Floats | None, Floats, float]:
        n = self._n_groups
        if self._with_bias:
            return vector[:n], vector[n : 2 * n], vector[2 * n : 3 * n], vector[3 * n : -1], float(vector[-1])
        return vector[:n], vector[n : 2 * n], None, vector[2 * n :], 0.0

    def __call__(self, vector: Floats) -> tuple[float, Floats]:
        """Returns the value, and the gradient by the vector."""
        data = self._data
        lengths_g, effects, lengths_h, logarithms, scaling = self._parts(vector)
        variances, weights = np.exp(logarithms), np.exp(effects[self._groups])
        of_g, slope_g = matern(data.features, data.features, lengths_g[self._groups])
        of_l = (self._linear * weights) @ self._linear.T, (self._curved * np.tile(weights, 2)) @ self._curved.T
        factor = 1.0 + scaling * data.bias
        seen = np.outer(factor, factor) + self._doubt
        # The kernel is the sum of these, each times its variance.
        terms = [seen * of_g, seen * of_l[0], seen * of_l[1], np.eye(len(data))]
        if lengths_h is not None:
            of_h, slope_h = matern(data.features, data.features, lengths_h[self._groups])
            terms += [self._early * of_h, self._early, self._late * of_h, self._late, np.diag(data.bias)]
        known = np.diag(data.noise + JITTER) + MEAN_VARIANCE
        solved = _solved(sum((v * term for v, term in zip(variances, terms, strict=True)), known), data.values)
        if solved is None:
            return 1e10, np.zeros_like(vector)
        value, slope = solved
        vg, vl, vq = variances[:3]
        gradient = [self._of_lengths(vg * slope * seen * slope_g, lengths_g)]
        gradient += [self._of_effects(slope * seen, weights, vl, vq)]
        of_variances = np.asarray([v * np.vdot(slope, term) for v, term in zip(variances, terms, strict=True)])
        if lengths_h is None:
            gradient += [of_variances]
        else:
            of_bias = variances[4] * self._early + variances[6] * self._late
            of_x = vg * of_g + vl * of_l[0] + vq * of_l[1]
            of_scaling = 2.0 * (data.bias @ (slope * of_x) @ factor)
            gradient += [self._of_lengths(slope * of_bias * slope_h, lengths_h), of_variances, np.asarray([of_scaling])]
        z = (vector - self._mean) / self._sd
        value += float(0.5 * z @ z + self._mode @ vector)
        return value / len(data), (np.concatenate(gradient) + z / self._sd + self._mode) / len(data)

    def _of_lengths(self, factor: Floats, lengths: Floats) -> Floats:
        """Returns the derivative by each length scale's logarithm, ``factor`` being that by minus half the squared distance."""
        features = self._data.features
        total = 2.0 * (factor.sum(axis=1) @ self._squares - (features * (factor @ features)).sum(axis=0))
        return self._by_group(total * np.exp(-2.0 * lengths[self._groups]))

    def _of_effects(self, factor: Floats, weights: Floats, linear: float, curved: float) -> Floats:
        """Returns the derivative by each weight's logarithm, ``factor`` being that by the main effects' kernel."""
        of_linear = (self._linear * (factor @ self._linear)).sum(axis=0)
        of_curved = (self._curved * (factor @ self._curved)).sum(axis=0).reshape(2, -1).sum(axis=0)
        return self._by_group(weights * (linear * of_linear + curved * of_curved))

    def _by_group(self, by_feature: Floats) -> Floats:
        return np.asarray(np.bincount(self._groups, by_feature, minlength=self._n_groups), dtype=np.float64)

    def _prior(self) -> tuple[Floats, Floats, Floats]:
        """Returns means, deviations and the linear term of the prior of a vector."""
        n, n_variances = self._n_groups, self._n_variances
        # A log-normal density has its mode below the median: exp(mean - sd**2), which is the linear term.
        lengths = [(length_mean(n), LENGTH_SD, 1.0)] * n
        variances = [(mean, sd, 0.0) for mean, sd in zip(VARIANCE_MEANS, VARIANCE_SDS, strict=True)][:n_variances]
        of_bias, scaling = (lengths, [(0.0, SCALING_SD, 0.0)]) if self._with_bias else ([], [])
        prior = np.asarray([*lengths, *[(0.0, EFFECT_SD, 0.0)] * n, *of_bias, *variances, *scaling], dtype=np.float64)
        return prior[:, 0], prior[:, 1], prior[:, 2]


def _solved(kernel: Floats, values: Floats) -> tuple[float, Floats] | None:
    """Returns the negative log likelihood less its constant, and its derivative by the kernel; None without a factor."""
    lower, info = lapack.dpotrf(kernel, lower=1, clean=1)
    if info != 0:
        return None
    alpha = cho_solve((lower, True), values, check_finite=False)
    value = 0.5 * values @ alpha + np.log(np.diagonal(lower)).sum()
    inverse, _ = lapack.dpotri(lower, lower=1)
    inverse += np.tril(inverse, -1).T
    return float(value), 0.5 * (inverse - np.outer(alpha, alpha))
