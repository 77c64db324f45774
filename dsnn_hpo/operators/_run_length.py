"""Exponents from binary factors: what DenseShift and S3 make their shifts of.

With H(t) = 1 for t > 0, else 0: k_0 = 0, k_i = (k_{i-1} + 1) * H(t_i). The last one, k_n, is the number of factors at
the end of the row t_1 .. t_n that are positive without a gap: every exponent from 0 to n, and one step of one factor
changes it. The gradient passes H as if it were the identity (straight through).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Low-variance initialisation of DenseShift (arXiv 2208.09708): all latent tensors from N(0, this squared).
INITIAL_DEVIATION = 1e-3


def run_lengths(factors: Sequence[Tensor], like: Tensor) -> list[Tensor]:
    """Returns k_0 to k_n, each of the shape and dtype of ``like``."""
    lengths = [torch.zeros_like(like)]
    for factor in factors:
        lengths.append((lengths[-1] + 1) * (factor > 0))
    return lengths


def run_lengths_backward(grad: Tensor, lengths: Sequence[Tensor], factors: Sequence[Tensor]) -> list[Tensor]:
    """Returns dL/dt_1 to dL/dt_n for dL/dk_n: dk_i/dt_i = k_{i-1} + 1, dk_i/dk_{i-1} = H(t_i)."""
    gradients = []
    for before, factor in zip(reversed(lengths[:-1]), reversed(factors), strict=True):
        gradients.append(grad * (before + 1))
        grad = grad * (factor > 0)
    return gradients[::-1]


def factor_name(index: int) -> str:
    """Returns the name under which a layer holds t_{index + 1}."""
    return f"factor_{index + 1}"


def nearest_codes(weight: Tensor, n_factors: int) -> tuple[Tensor, Tensor]:
    """Returns exponents from 0 to ``n_factors`` and a scale, a power of two: ``2**exponents * scale`` is near |weight|.

    The largest code meets the largest weight; the others are nearest in log2, or the least one.
    """
    magnitude = normal_magnitude(weight)
    scale = torch.exp2(torch.log2(magnitude).amax().round() - n_factors)
    return torch.log2(magnitude / scale).round().clamp(0, n_factors), scale


def normal_magnitude(weight: Tensor) -> Tensor:
    """Returns |weight|, at least the smallest normal number of the dtype, which has a finite logarithm."""
    return weight.abs().clamp_min(torch.finfo(weight.dtype).tiny)


def sign_of(weight: Tensor) -> Tensor:
    """Returns a latent sign, drawn with low variance, that is the weight's; positive for zero."""
    return torch.where(weight < 0, -1.0, 1.0) * drawn(weight).abs_()


def drawn(like: Tensor) -> Tensor:
    """Returns a latent tensor of low variance, without a gradient."""
    return torch.empty_like(like, requires_grad=False).normal_(0.0, INITIAL_DEVIATION)


def factors_of(exponents: Tensor, n_factors: int) -> list[Tensor]:
    """Returns latent factors, drawn with low variance, whose run length is ``exponents``, whole numbers 0 to n."""
    return [
        torch.where(exponents >= n_factors - i, 1.0, -1.0) * drawn(exponents).abs_().add_(INITIAL_DEVIATION)
        for i in range(n_factors)
    ]
