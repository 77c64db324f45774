"""A Gaussian process over configurations and fidelities, in float64.

The kernel is additive in the fidelity: ``y(x, s) = m + (1 + r b) g(x) + b (h(x) + c) + b**0.25 (h'(x) + c') + noise``,
with ``g``, ``h`` and ``h'`` Matern-5/2 processes (ARD, ``h'`` of the length scales of ``h``), so that what is learnt at
a low fidelity carries over as far as the bias is learnt. ``b(s)`` falls to 0 at full fidelity, soon; its fourth root
falls late, as the bias of what begins to learn late. With ``r`` a short training shows differences larger or smaller
than they are in the end, or turned round where curves cross. (The additive kernel of Swersky et al. 2013 and Wu et al.
2020; ``r`` is the scale of Kennedy and O'Hagan 2000.) Priors on length scales grow with the dimension (Hvarfner et al.
2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, lapack, solve_triangular
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]

SQRT5 = float(np.sqrt(5.0))
JITTER = 1e-8
MEAN_VARIANCE = 1.0
WAVY_LENGTH = float(np.log(0.4))
LENGTH_SD = float(np.sqrt(3.0))
LATE_EXPONENT = 0.25
# Logarithms of variances of g, h, c, the noise, the noise that a low fidelity adds, and the late h and c: means, deviations.
VARIANCE_MEANS = np.log([1.0, 0.3, 0.3, 1e-3, 1e-3, 0.05, 0.05])
VARIANCE_SDS = np.asarray([1.0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5])
N_VARIANCES = len(VARIANCE_MEANS)
BOUNDS_LENGTH = (np.log(0.03), np.log(300.0))
BOUNDS_VARIANCE = (np.log(1e-7), np.log(1e3))
SCALING_SD = 1.0
BOUNDS_SCALING = (-3.0, 3.0)


@dataclass(frozen=True, slots=True)
class Data:
    """What a process has seen.

    Attributes:
        features: shape (n, d).
        bias: shape (n,), b(s), 0 at full fidelity and 1 at the lowest one.
        values: shape (n,), of about unit scale.
        noise: shape (n,), variances known of the values' own.
    """

    features: Floats
    bias: Floats
    values: Floats
    noise: Floats

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: npt.NDArray[np.intp]) -> Data:
        """Returns some of it."""
        return Data(self.features[index], self.bias[index], self.values[index], self.noise[index])


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Of a kernel: logarithms of the length scales of g and h, shape (n_groups,), and of seven variances, and r (see the module)."""

    lengths_g: Floats
    lengths_h: Floats
    variances: Floats
    scaling: float = 0.0

    @classmethod
    def starts(cls, n_groups: int) -> tuple[Hyperparameters, ...]:
        """Returns where fitting starts: smooth, as the prior has it, and wavy (what is wavy looks like noise from the other)."""
        smooth = np.full(n_groups, _length_mean(n_groups) - 0.7)
        wavy = np.full(n_groups, WAVY_LENGTH)
        return cls(smooth, smooth, VARIANCE_MEANS.copy()), cls(wavy, smooth, VARIANCE_MEANS.copy())

    def vector(self, with_bias: bool) -> Floats:
        """Returns the parameters to fit, those of the bias only ``with_bias``."""
        if with_bias:
            return np.concatenate([self.lengths_g, self.lengths_h, self.variances, [self.scaling]])
        return np.concatenate([self.lengths_g, self.variances[[0, 3]]])

    def updated(self, vector: Floats, with_bias: bool) -> Hyperparameters:
        """Returns these with the fitted ones replaced."""
        n = len(self.lengths_g)
        if with_bias:
            return Hyperparameters(vector[:n], vector[n : 2 * n], vector[2 * n : -1], float(vector[-1]))
        variances = self.variances.copy()
        variances[[0, 3]] = vector[n:]
        return Hyperparameters(vector[:n], self.lengths_h, variances)


def _length_mean(n_groups: int) -> float:
    return float(np.sqrt(2.0) + 0.5 * np.log(max(n_groups, 1)))


def fit(
    data: Data, groups: npt.NDArray[np.intp], starts: Sequence[Hyperparameters], max_evaluations: int = 60
) -> Hyperparameters:
    """Returns the hyperparameters of the highest posterior density (MAP) that L-BFGS finds from any of the starts."""
    with_bias = bool((data.bias > 0).any())
    evaluation = _Evaluation(data, groups, len(starts[0].lengths_g), with_bias)
    n_variances = N_VARIANCES if with_bias else 2
    best, lowest = starts[0], np.inf
    for start in starts:
        first = start.vector(with_bias)
        bounds = [BOUNDS_LENGTH] * (len(first) - n_variances - with_bias) + [BOUNDS_VARIANCE] * n_variances
        bounds += [BOUNDS_SCALING] * with_bias
        found = minimize(
            evaluation,
            first,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxfun": max_evaluations, "gtol": 1e-3},
        )
        if found.fun < lowest:
            best, lowest = start.updated(np.asarray(found.x, dtype=np.float64), with_bias), float(found.fun)
    return best


def likeliest(data: Data, groups: npt.NDArray[np.intp], candidates: Sequence[Hyperparameters]) -> Hyperparameters:
    """Returns the hyperparameters of the highest posterior density."""
    with_bias = bool((data.bias > 0).any())
    evaluation = _Evaluation(data, groups, len(candidates[0].lengths_g), with_bias)
    return min(candidates, key=lambda candidate: evaluation(candidate.vector(with_bias))[0])


class _Evaluation:
    """The negative logarithm of the posterior density over the number of rows, and its gradient."""

    def __init__(self, data: Data, groups: npt.NDArray[np.intp], n_groups: int, with_bias: bool) -> None:
        self._data = data
        self._groups = groups
        self._n_groups = n_groups
        self._with_bias = with_bias
        late = data.bias**LATE_EXPONENT
        self._bb, self._late = np.outer(data.bias, data.bias), np.outer(late, late)
        self._squares = data.features**2

    def __call__(self, vector: Floats) -> tuple[float, Floats]:
        n, n_groups, data = len(self._data), self._n_groups, self._data
        lengths_g = vector[:n_groups]
        kg, dg = _matern(data.features, data.features, lengths_g[self._groups])
        if self._with_bias:
            lengths_h = vector[n_groups : 2 * n_groups]
            kh, dh = _matern(data.features, data.features, lengths_h[self._groups])
            vg, vh, vc, vn, vb, vhl, vcl = np.exp(vector[2 * n_groups : -1])
            of_h = vh * self._bb + vhl * self._late
            factor = 1.0 + vector[-1] * data.bias
            of_g = vg * np.outer(factor, factor)
            kernel = of_g * kg + MEAN_VARIANCE + of_h * kh + vc * self._bb + vcl * self._late
        else:
            vg, vn = np.exp(vector[n_groups:])
            vb = 0.0
            of_g = vg
            kernel = vg * kg + MEAN_VARIANCE
        kernel[np.diag_indices(n)] += vn + vb * data.bias + data.noise + JITTER
        lower, info = lapack.dpotrf(kernel, lower=1, clean=1)
        if info != 0:
            return 1e10, np.zeros_like(vector)
        alpha = cho_solve((lower, True), data.values, check_finite=False)
        value = 0.5 * data.values @ alpha + np.log(np.diagonal(lower)).sum()
        inverse, _ = lapack.dpotri(lower, lower=1)
        inverse += np.tril(inverse, -1).T
        weights = 0.5 * (inverse - np.outer(alpha, alpha))
        diagonal = np.diagonal(weights)
        gradient = [self._of_lengths(of_g * weights * dg, lengths_g)]
        if self._with_bias:
            weighted, late = weights * self._bb, weights * self._late
            gradient += [self._of_lengths(weights * of_h * dh, lengths_h)]
            sums = [(of_g * weights * kg).sum(), vh * (weighted * kh).sum(), vc * weighted.sum()]
            sums += [vn * diagonal.sum(), vb * (diagonal @ data.bias), vhl * (late * kh).sum(), vcl * late.sum()]
            sums += [2.0 * vg * (data.bias @ (weights * kg) @ factor)]
            gradient += [np.asarray(sums)]
        else:
            gradient += [np.asarray([vg * (weights * kg).sum(), vn * diagonal.sum()])]
        prior, of_prior = self._prior(vector)
        return float(value + prior) / n, (np.concatenate(gradient) + of_prior) / n

    def _of_lengths(self, factor: Floats, lengths: Floats) -> Floats:
        """Returns the derivative by each length scale's logarithm, ``factor`` being that by minus half the squared distance."""
        features = self._data.features
        total = 2.0 * (factor.sum(axis=1) @ self._squares - (features * (factor @ features)).sum(axis=0))
        by_feature = total * np.exp(-2.0 * lengths[self._groups])
        return np.asarray(np.bincount(self._groups, by_feature, minlength=self._n_groups), dtype=np.float64)

    def _prior(self, vector: Floats) -> tuple[float, Floats]:
        n_lengths = self._n_groups * (2 if self._with_bias else 1)
        chosen = slice(None) if self._with_bias else [0, 3]
        zero, one = ([0.0], [SCALING_SD]) if self._with_bias else ([], [])
        mean = np.concatenate([np.full(n_lengths, _length_mean(self._n_groups)), VARIANCE_MEANS[chosen], zero])
        sd = np.concatenate([np.full(n_lengths, LENGTH_SD), VARIANCE_SDS[chosen], one])
        z = (vector - mean) / sd
        # A log-normal density has its mode below the median: exp(mean - sd**2), which is the linear term.
        linear = np.concatenate([np.ones(n_lengths), np.zeros(len(vector) - n_lengths)])
        return float(0.5 * z @ z + linear @ vector), z / sd + linear


def _matern(one: Floats, other: Floats, lengths: Floats) -> tuple[Floats, Floats]:
    """Returns the Matern-5/2 correlation and its derivative by minus half the squared distance over the length scales."""
    squared = _squared_distances(one * np.exp(-lengths), other * np.exp(-lengths))
    r5 = SQRT5 * np.sqrt(squared)
    decay = np.exp(-r5)
    slope = (5.0 / 3.0) * (1.0 + r5) * decay
    return (1.0 + r5 + (5.0 / 3.0) * squared) * decay, slope


def _squared_distances(one: Floats, other: Floats) -> Floats:
    norms = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    return np.asarray(np.maximum(norms - 2.0 * one @ other.T, 0.0), dtype=np.float64)


def correlation(one: Floats, other: Floats, lengths: Floats) -> Floats:
    """Returns the Matern-5/2 correlation of two sets of rows, given the logarithms of a length scale for each column."""
    squared = _squared_distances(one * np.exp(-lengths), other * np.exp(-lengths))
    r5 = SQRT5 * np.sqrt(squared)
    return np.asarray((1.0 + r5 + (5.0 / 3.0) * squared) * np.exp(-r5), dtype=np.float64)


class Process:
    """The posterior of a process, given its hyperparameters and data.

    Raises:
        numpy.linalg.LinAlgError: the kernel could not be factorised, even with more jitter.
    """

    def __init__(self, data: Data, groups: npt.NDArray[np.intp], hyperparameters: Hyperparameters) -> None:
        self._data = data
        self._lengths_g = hyperparameters.lengths_g[groups]
        self._lengths_h = hyperparameters.lengths_h[groups]
        self._vg, self._vh, self._vc, self._vn, self._vb, self._vhl, self._vcl = map(
            float, np.exp(hyperparameters.variances)
        )
        self._scaling = hyperparameters.scaling
        kernel = self._kernel(data.features, data.bias)
        kernel[np.diag_indices(len(data))] += self._vn + self._vb * data.bias + data.noise
        self._lower = _factor(kernel)
        self._alpha = cho_solve((self._lower, True), data.values, check_finite=False)

    @property
    def prior_variance(self) -> float:
        """Returns the variance of a full-fidelity value before anything was seen."""
        return self._vg + MEAN_VARIANCE

    def noise(self, bias: Floats) -> Floats:
        """Returns the variance of the noise at fidelities of this bias."""
        return np.asarray(self._vn + self._vb * bias, dtype=np.float64)

    def predict(self, features: Floats, bias: Floats | None = None) -> tuple[Floats, Floats]:
        """Returns mean and variance without noise, each of shape (m,); at full fidelity where no bias is given."""
        cross = self._kernel(features, bias)
        prior = np.full(len(features), self.prior_variance)
        if bias is not None:
            prior = self._vg * self._scale(bias) ** 2 + MEAN_VARIANCE
            of_h, of_c = self._of_bias(bias, bias)
            prior += np.diagonal(of_h + of_c)
        solved = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        return cross @ self._alpha, np.maximum(prior - (solved**2).sum(axis=0), 1e-12)

    def paths(self, feature: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """Returns mean (k,) and covariance (k, k) of one configuration's values at fidelities of these biases."""
        k = len(bias)
        features = np.repeat(feature[None], k, axis=0)
        cross = self._kernel(features, bias)
        of_h, of_c = self._of_bias(bias, bias)
        scale = self._scale(bias)
        prior = self._vg * np.outer(scale, scale) + MEAN_VARIANCE + of_h + of_c
        solved = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        return cross @ self._alpha, prior - solved.T @ solved

    def _kernel(self, features: Floats, bias: Floats | None) -> Floats:
        data = self._data
        scale = np.ones(len(features)) if bias is None else self._scale(bias)
        of_g = self._vg * np.outer(scale, self._scale(data.bias))
        kernel = of_g * correlation(features, data.features, self._lengths_g) + MEAN_VARIANCE
        if bias is not None and bias.any() and data.bias.any():
            of_h, of_c = self._of_bias(bias, data.bias)
            kernel += of_h * correlation(features, data.features, self._lengths_h) + of_c
        return np.asarray(kernel, dtype=np.float64)

    def _scale(self, bias: Floats) -> Floats:
        """Returns how much of g is seen at fidelities of these biases, 1 + r b."""
        return 1.0 + self._scaling * bias

    def _of_bias(self, one: Floats, other: Floats) -> tuple[Floats, Floats]:
        """Returns the covariances of h and c between fidelities of these biases, shape (n, k) each."""
        early = np.outer(one, other)
        late = early**LATE_EXPONENT
        return self._vh * early + self._vhl * late, self._vc * early + self._vcl * late


def _factor(kernel: Floats) -> Floats:
    for jitter in (JITTER, 1e-6, 1e-4):
        kernel[np.diag_indices(len(kernel))] += jitter
        try:
            factor: Any = cholesky(kernel, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
        return np.asarray(factor, dtype=np.float64)
    raise np.linalg.LinAlgError("the kernel matrix has no Cholesky factor")
