"""A Gaussian process over configurations and fidelities, in float64.

Its kernel is additive in the fidelity: ``y(x, s) = m + (1 + r b) (g(x) + l(x)) + b (h(x) + c) + h'(x, b**0.25) + noise``,
with ``g`` and ``h`` Matern-5/2 processes (ARD), so that what is learnt at a low fidelity carries over as far as the bias
is learnt. ``b(s)`` falls to 0 at full fidelity, soon; its fourth root falls late, as the bias of what begins to learn
late. ``h'`` is such a process of the length scales of ``h``, and a constant, whose changes from fidelity to fidelity are
independent (Brownian in the fourth root): what several short trainings of a configuration show does not tell how its curve
ends, but what long ones of others do. With ``r`` a short training shows differences larger or smaller
than they are in the end, or turned round where curves cross. (The additive kernel of Swersky et al. 2013 and Wu et al.
2020; ``r`` is the scale of Kennedy and O'Hagan 2000.) Priors on length scales grow with the dimension (Hvarfner et al.
2024).

``l`` are main effects: a polynomial of the third degree in each feature, its coefficients normal (Rasmussen and Williams
2006, section 2.7), each feature's weight learnt. What hyperparameters do by themselves, which is most of what they do, is
learnt from fewer trainings than a process over all of them together needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.intp]

SQRT5 = float(np.sqrt(5.0))
JITTER = 1e-8
MEAN_VARIANCE = 1.0
WAVY_LENGTH = float(np.log(0.4))
LATE_EXPONENT = 0.25
CUBIC = 0.3
"""The variance of a cubic coefficient over that of a quadratic one."""
VARIANCE_MEANS = np.log([1.0, 1.0, 0.1, 1e-3, 0.3, 0.3, 0.05, 0.05, 1e-3])
"""Of the logarithms' prior: g, linear and curved effects, noise; h, c, late h and c, and the noise that a low fidelity adds."""
N_AT_FULL = 4
"""So many of them trainings at full fidelity tell of."""


@dataclass(frozen=True, slots=True)
class Data:
    """What a process has seen.

    Attributes:
        features: shape (n, d).
        bias: shape (n,), b(s), 0 at full fidelity and 1 at the lowest one.
        values: shape (n,), of about unit scale.
        noise: shape (n,), variances known of the values' own.
        doubt: shape (n,), how far the values may differ from what is asked for, as a process of the shape of g and l: its
            standard deviation over theirs.
    """

    features: Floats
    bias: Floats
    values: Floats
    noise: Floats
    doubt: Floats

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: npt.NDArray[np.intp]) -> Data:
        """Returns some of it."""
        return Data(self.features[index], self.bias[index], self.values[index], self.noise[index], self.doubt[index])


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Of a kernel, all but the last as logarithms.

    Attributes:
        lengths_g: shape (n_groups,), length scales of g.
        lengths_h: shape (n_groups,), of h.
        effects: shape (n_groups,), how much the main effects of each group of features count.
        variances: shape (9,), see ``VARIANCE_MEANS``.
        scaling: r.
    """

    lengths_g: Floats
    lengths_h: Floats
    effects: Floats
    variances: Floats
    scaling: float = 0.0

    @classmethod
    def starts(cls, n_groups: int) -> tuple[Hyperparameters, ...]:
        """Returns where fitting starts: smooth, as the prior has it, and wavy (what is wavy looks like noise from the other)."""
        smooth = np.full(n_groups, length_mean(n_groups) - 0.7)
        wavy = np.full(n_groups, WAVY_LENGTH)
        alike = np.zeros(n_groups)
        return tuple(cls(lengths, smooth, alike, VARIANCE_MEANS.copy()) for lengths in (smooth, wavy))


def length_mean(n_groups: int) -> float:
    """Returns the mean of the prior of a length scale's logarithm."""
    return float(np.sqrt(2.0) + 0.5 * np.log(max(n_groups, 1)))


def matern(one: Floats, other: Floats, lengths: Floats) -> tuple[Floats, Floats]:
    """Returns the Matern-5/2 correlation of two sets of rows and its derivative by minus half the squared distance.

    Args:
        one: shape (n, d).
        other: shape (m, d).
        lengths: shape (d,), the logarithm of a length scale for each column.
    """
    r5, squared = _distances(one, other, lengths)
    decay = np.exp(-r5)
    return (1.0 + r5 + (5.0 / 3.0) * squared) * decay, (5.0 / 3.0) * (1.0 + r5) * decay


def _correlation(one: Floats, other: Floats, lengths: Floats) -> Floats:
    r5, squared = _distances(one, other, lengths)
    return np.asarray((1.0 + r5 + (5.0 / 3.0) * squared) * np.exp(-r5), dtype=np.float64)


def _distances(one: Floats, other: Floats, lengths: Floats) -> tuple[Floats, Floats]:
    """Returns the distances over the length scales, times the root of 5, and their squares."""
    one, other = one * np.exp(-lengths), other * np.exp(-lengths)
    norms = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)
    squared = np.maximum(norms - 2.0 * one @ other.T, 0.0)
    return SQRT5 * np.sqrt(squared), squared


def main_effects(features: Floats) -> tuple[Floats, Floats]:
    """Returns the Legendre polynomials of features: linear, shape (n, d), then square and cubic, shape (n, 2 d).

    Their squares add up to about one, and the cubic ones to ``CUBIC``.
    """
    z = 2.0 * features - 1.0
    d = max(1, features.shape[1])
    square, cube = np.sqrt(5.0 / d) * (1.5 * z**2 - 0.5), np.sqrt(CUBIC * 7.0 / d) * (2.5 * z**3 - 1.5 * z)
    return np.sqrt(3.0 / d) * z, np.concatenate([square, cube], axis=1)


class Process:
    """The posterior of a process, given its hyperparameters and data.

    Raises:
        numpy.linalg.LinAlgError: the kernel could not be factorised, even with more jitter.
    """

    def __init__(self, data: Data, groups: Groups, hyperparameters: Hyperparameters) -> None:
        self._data = data
        self._lengths_g = hyperparameters.lengths_g[groups]
        self._lengths_h = hyperparameters.lengths_h[groups]
        variances = np.exp(hyperparameters.variances)
        self._vg, vl, vq, self._vn, self._vh, self._vc, self._vhl, self._vcl, self._vb = map(float, variances)
        weights = np.exp(hyperparameters.effects[groups])
        self._deviations = np.sqrt(np.concatenate([vl * weights, np.tile(vq * weights, 2)]))
        self._scaling = hyperparameters.scaling
        self._effects = self._main_effects(data.features)
        kernel = self._kernel(data.features, data.bias)
        if data.doubt.any():
            kernel += np.outer(data.doubt, data.doubt) * self._of_x(data.features)
        kernel[np.diag_indices(len(data))] += self._vn + self._vb * data.bias + data.noise
        self._lower = _factor(kernel)
        self._alpha = cho_solve((self._lower, True), data.values, check_finite=False)

    def noise(self, bias: Floats) -> Floats:
        """Returns the variance of the noise at fidelities of this bias."""
        return np.asarray(self._vn + self._vb * bias, dtype=np.float64)

    def predict(self, features: Floats, bias: Floats | None = None) -> tuple[Floats, Floats]:
        """Returns mean and variance without noise, each of shape (m,); at full fidelity where no bias is given."""
        cross = self._kernel(features, bias)
        prior = self._vg + (self._main_effects(features) ** 2).sum(axis=1)
        if bias is not None:
            of_h, of_c = self._of_bias(bias, bias)
            prior = prior * self._scale(bias) ** 2 + np.diagonal(of_h + of_c)
        prior = prior + MEAN_VARIANCE
        solved = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        return cross @ self._alpha, np.maximum(prior - (solved**2).sum(axis=0), 1e-12)

    def paths(self, feature: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """Returns mean (k,) and covariance (k, k) of one configuration's values at fidelities of these biases."""
        features = np.repeat(feature[None], len(bias), axis=0)
        cross = self._kernel(features, bias)
        of_h, of_c = self._of_bias(bias, bias)
        scale = self._scale(bias)
        of_g = self._vg + (self._main_effects(feature[None]) ** 2).sum()
        prior = of_g * np.outer(scale, scale) + MEAN_VARIANCE + of_h + of_c
        solved = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        return cross @ self._alpha, prior - solved.T @ solved

    def _kernel(self, features: Floats, bias: Floats | None) -> Floats:
        data = self._data
        scale = np.ones(len(features)) if bias is None else self._scale(bias)
        kernel = self._of_x(features)
        kernel *= np.outer(scale, self._scale(data.bias))
        kernel += MEAN_VARIANCE
        if bias is not None and bias.any() and data.bias.any():
            of_h, of_c = self._of_bias(bias, data.bias)
            kernel += of_h * _correlation(features, data.features, self._lengths_h) + of_c
        return np.asarray(kernel, dtype=np.float64)

    def _of_x(self, features: Floats) -> Floats:
        """Returns the covariance of g and l with those of the data."""
        kernel = self._vg * _correlation(features, self._data.features, self._lengths_g)
        return np.asarray(kernel + self._main_effects(features) @ self._effects.T, dtype=np.float64)

    def _main_effects(self, features: Floats) -> Floats:
        """Returns what main effects are made of, each polynomial times the standard deviation of its coefficient, shape (n, 3 d)."""
        return np.asarray(np.concatenate(main_effects(features), axis=1) * self._deviations, dtype=np.float64)

    def _scale(self, bias: Floats) -> Floats:
        """Returns how much of g and l is seen at fidelities of these biases, 1 + r b."""
        return 1.0 + self._scaling * bias

    def _of_bias(self, one: Floats, other: Floats) -> tuple[Floats, Floats]:
        """Returns the covariances of h and c between fidelities of these biases, shape (n, k) each."""
        early, late = np.outer(one, other), np.minimum.outer(one**LATE_EXPONENT, other**LATE_EXPONENT)
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
