"""DenseShift: zero-free powers of two from a sign and binary factors.

Li et al., "DenseShift: Towards Accurate and Efficient Low-Bit Power-of-Two Quantization", ICCV 2023, arXiv 2208.09708,
and its released code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dsnn_hpo.kernels import WeightRounding
from dsnn_hpo.operators._run_length import (
    drawn,
    factor_name,
    factors_of,
    nearest_codes,
    run_lengths,
    run_lengths_backward,
    sign_of,
)
from dsnn_hpo.operators._weight_scheme import Held, WeightScheme, root_mean_square


@dataclass(frozen=True, slots=True)
class DenseShift(WeightScheme):
    """Weights ``sgn(S) * 2**k * scale`` of b bits, k from 0 to n = 2**(b-1) - 1, without a zero.

    k is the run length of n binary factors t_1 .. t_n (``_run_length``); sgn(0) = +1. The gradient is that of the
    surrogate ``sgn(S) * sqrt(k + 1) * scale``, which takes the value's place in the backward pass, straight through
    H and sgn: dL/dS = dL/dw * sqrt(k + 1) * scale and dL/dk = dL/dw * sgn(S) * scale / (2 * sqrt(k + 1)).

    ``scale`` is a fixed power of two a layer, 1 in the paper, where batch normalisation absorbs it; here it is chosen
    once so that the weights begin with about the root mean square of the float layer's, or, from a trained weight, so
    that the largest code meets its largest value. Training keeps n + 1 tensors a weight: 4 at 3 bits, 16 at 5.
    """

    @property
    def n_factors(self) -> int:
        """Returns the number of binary factors, the largest exponent."""
        return int(2 ** (self.weight_bits - 1)) - 1

    def initial(self, weight: nn.Parameter, *, from_trained: bool, is_convolution: bool) -> dict[str, Tensor]:  # noqa: ARG002
        """Returns the sign, the factors and the scale; from a trained weight those of the codes nearest in log2."""
        with torch.no_grad():
            if from_trained:
                exponents, scale = nearest_codes(weight, self.n_factors)
                sign = sign_of(weight)
                factors = factors_of(exponents, self.n_factors)
            else:
                sign, factors = drawn(weight), [drawn(weight) for _ in range(self.n_factors)]
                codes = torch.exp2(run_lengths(factors, sign)[-1])
                scale = torch.exp2(torch.log2(root_mean_square(weight) / root_mean_square(codes)).round())
        trained = {"sign": sign, **{factor_name(i): factor for i, factor in enumerate(factors)}}
        parameters = {name: nn.Parameter(tensor, weight.requires_grad) for name, tensor in trained.items()}
        return {**parameters, "scale": scale}

    def value(self, held: Held, rounding: WeightRounding) -> Tensor:  # noqa: ARG002 - there is nothing to round
        """Returns the weight with the surrogate's gradient."""
        factors = [held[factor_name(i)] for i in range(self.n_factors)]
        return _DenseWeight.apply(held["scale"], held["sign"], *factors)  # type: ignore[no-any-return, no-untyped-call]


class _DenseWeight(Function):
    @staticmethod
    def forward(ctx: Any, scale: Tensor, sign: Tensor, *factors: Tensor) -> Tensor:
        lengths = run_lengths(factors, sign)
        ctx.save_for_backward(scale, sign, *factors, *lengths)
        magnitude = torch.exp2(lengths[-1]) * scale
        return torch.where(sign >= 0, magnitude, -magnitude)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scale, sign, *rest = ctx.saved_tensors
        n_factors = (len(rest) - 1) // 2
        factors, lengths = rest[:n_factors], rest[n_factors:]
        root = torch.sqrt(lengths[-1] + 1)
        grad = grad * scale
        grad_exponent = torch.where(sign >= 0, grad, -grad) / (2 * root)
        return None, grad * root, *run_lengths_backward(grad_exponent, lengths, factors)
