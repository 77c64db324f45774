"""Two-term powers of two: a weight that is the sum of two shifts.

The sum of powers of two of Li et al., "Additive Powers-of-Two Quantization", ICLR 2020, arXiv 1909.13144, asked for as
"shift twice" by DeepShift's users; here with DeepShift-Q's range and gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from dsnn_hpo.kernels import WeightRounding, exponent_range, power_of_two_q
from dsnn_hpo.operators._weight_scheme import Held, WeightScheme


@dataclass(frozen=True, slots=True)
class TwoTerm(WeightScheme):
    """Weights ``s_1 * 2**p_1 + s_2 * 2**p_2``, each term of b bits.

    The first term is DeepShift-Q's code of the float weight w; the second one that of the rest, w less the first term,
    or zero where the rest is below half the smallest code. The rest of a first term of 1 is below 0.3, so that p_2 < 0,
    and the second term's signs, exponents and zero are 2**b - 1 codes. dL/dw := dL/dw~.
    """

    @property
    def code_bits(self) -> int:
        """Returns the bits of both terms."""
        return 2 * self.weight_bits

    @property
    def is_signed_power(self) -> bool:
        """Returns False."""
        return False

    def initial(self, weight: nn.Parameter, *, from_trained: bool, is_convolution: bool) -> dict[str, Tensor]:  # noqa: ARG002
        """Returns the float layer's own parameter."""
        return {"weight": weight}

    def value(self, held: Held, rounding: WeightRounding) -> Tensor:
        """Returns the sum of both terms, straight through."""
        return _StraightThrough.apply(held["weight"], self.weight_bits, rounding)  # type: ignore[no-any-return, no-untyped-call]

    def terms(self, held: Held) -> tuple[Tensor, ...]:
        """Returns both terms."""
        return two_terms(held["weight"], self.weight_bits)

    def with_gradient(self, held: Held, value: Tensor) -> Tensor:
        """Returns ``value``, straight through."""
        weight = held["weight"]
        return value + (weight - weight.detach())

    def limits(self) -> Mapping[str, tuple[float, float]]:
        """Returns [-1, 1] for the weight, as for DeepShift-Q."""
        return {"weight": (-1.0, 1.0)}


def two_terms(weight: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic") -> tuple[Tensor, Tensor]:
    """Returns both terms, without a gradient; NaN stays NaN."""
    lowest, highest = exponent_range("Q", weight_bits)
    with torch.no_grad():
        weight = weight.clamp(-(2.0**highest), 2.0**highest)
        first = power_of_two_q(weight, weight_bits, rounding)
        rest = weight - first
        second = power_of_two_q(rest, weight_bits, rounding)
        return first, torch.where(rest.abs() < 2.0 ** (lowest - 1), 0.0, second)


class _StraightThrough(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, weight_bits: int, rounding: WeightRounding) -> Tensor:  # noqa: ARG004
        first, second = two_terms(weight, weight_bits, rounding)
        return first + second

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad, None, None
