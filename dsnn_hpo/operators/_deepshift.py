"""DeepShift: weights ``s * 2**p`` rounded from a float weight (Q) or from a shift and a sign (PS).

Elhoushi et al., "DeepShift: Towards Multiplication-Less Neural Networks", CVPRW 2021, arXiv 1905.13298. The formulas of
values and gradients are those of ``kernels.power_of_two_q`` and ``kernels.power_of_two_ps``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dsnn_hpo.kernels import (
    WeightRounding,
    exponent_range,
    power_of_two_ps,
    power_of_two_q,
    straight_through_ps,
    straight_through_q,
)
from dsnn_hpo.operators._layer import Penalty
from dsnn_hpo.operators._weight_scheme import Held, WeightScheme

# P ~ U(this interval, cut to the range of the bits); the published 5-bit initialisation of linear layers and convolutions.
_INITIAL_SHIFTS_LINEAR = (-14.0, 0.0)
_INITIAL_SHIFTS_CONVOLUTION = (-10.0, -1.0)


@dataclass(frozen=True, slots=True)
class DeepShiftQ(WeightScheme):
    """DeepShift-Q: the float weight is trained and rounded; from scratch it keeps the network's own initialisation."""

    def initial(self, weight: nn.Parameter, *, from_trained: bool, is_convolution: bool) -> dict[str, Tensor]:  # noqa: ARG002
        """Returns the float layer's own parameter."""
        return {"weight": weight}

    def value(self, held: Held, rounding: WeightRounding) -> Tensor:
        """Returns ``s * 2**round(log2|w|)``; dL/dw := dL/dw~."""
        return power_of_two_q(held["weight"], self.weight_bits, rounding)

    def with_gradient(self, held: Held, value: Tensor) -> Tensor:
        """Returns ``value`` with dL/dw := dL/dw~."""
        return straight_through_q(held["weight"], value)

    def limits(self) -> Mapping[str, tuple[float, float]]:
        """Returns [-1, 1] for the weight.

        The values of the network do not change by that, since rounding limits them too, but without it a weight could
        wander far outside its range and take as long to come back. The released code also lifts |W| to the smallest
        code after each step; here W passes through zero freely, because a lifted W of few bits (2 bits: |W| >= 1/2)
        can hardly ever change its sign.
        """
        _, highest = exponent_range("Q", self.weight_bits)
        return {"weight": (-(2.0**highest), 2.0**highest)}


@dataclass(frozen=True, slots=True)
class DeepShiftPS(WeightScheme):
    """DeepShift-PS: shift P and sign S are trained.

    From scratch both are drawn; from a trained weight P = log2|W|, S = sign(W), zero below half the smallest code.
    """

    def initial(self, weight: nn.Parameter, *, from_trained: bool, is_convolution: bool) -> dict[str, Tensor]:
        """Returns P and S."""
        if from_trained:
            shift, sign = self._decomposed(weight)
        else:
            lowest, highest = exponent_range("PS", self.weight_bits)
            initial = _INITIAL_SHIFTS_CONVOLUTION if is_convolution else _INITIAL_SHIFTS_LINEAR
            low, high = (min(max(end, lowest), highest) for end in initial)
            shift = torch.empty_like(weight).uniform_(low, high)
            sign = torch.empty_like(weight).uniform_(-1.0, 1.0)
        trained = weight.requires_grad
        return {"shift": nn.Parameter(shift, trained), "sign": nn.Parameter(sign, trained)}

    def value(self, held: Held, rounding: WeightRounding) -> Tensor:
        """Returns ``sign(round(S)) * 2**round(P)``; dL/dS := dL/dw~, dL/dP := dL/dw~ * w~ * ln 2."""
        return power_of_two_ps(held["shift"], held["sign"], self.weight_bits, rounding)

    def with_gradient(self, held: Held, value: Tensor) -> Tensor:
        """Returns ``value`` with the gradients of P and S."""
        return straight_through_ps(held["shift"], held["sign"], value)

    def undecayed(self) -> frozenset[str]:
        """Returns P and S, which ``squared_magnitudes`` regularises instead, as published."""
        return frozenset({"shift", "sign"})

    def limits(self) -> Mapping[str, tuple[float, float]]:
        """Returns the range of the codes for P, as for Q's weight; S is never limited, as published."""
        return {"shift": exponent_range("PS", self.weight_bits)}

    def penalties(self) -> Mapping[str, Penalty]:
        """Returns the L2 penalty of the magnitudes."""
        return {"shift": squared_magnitudes}

    def _decomposed(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        lowest, highest = exponent_range("PS", self.weight_bits)
        with torch.no_grad():
            magnitude = weight.abs()
            sign = torch.where(magnitude < 2.0 ** (lowest - 1), 0.0, torch.sign(weight))
            return torch.log2(magnitude.clamp(2.0**lowest, 2.0**highest)), sign


def squared_magnitudes(shifts: Sequence[Tensor], weight_decay: float) -> Tensor:
    """Returns ``weight_decay / 2 * sum((2**P)**2)`` over the unrounded P, a scalar.

    The L2 penalty of the weights' magnitudes (arXiv 1905.13298, released code). It can be differentiated once.
    """
    return _SquaredMagnitudes.apply(weight_decay, *shifts)  # type: ignore[no-any-return, no-untyped-call]


class _SquaredMagnitudes(Function):
    """Half the decay times the sum of 4**P, without a graph of its parts and with gradients in the layouts of P.

    That costs a third of the same in autograd: joining tensors that are channels_last copies them out of order, and
    so does adding what comes back to their other gradients.
    """

    @staticmethod
    def forward(ctx: Any, weight_decay: float, *shifts: Tensor) -> Tensor:
        squares = [torch.exp2_(doubled) for doubled in torch._foreach_mul(shifts, 2.0)]
        ctx.save_for_backward(*squares)
        ctx.weight_decay = weight_decay
        return 0.5 * weight_decay * torch.stack([square.sum() for square in squares]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # d(4**P)/dP = 2 ln 2 * 4**P
        gradients = torch._foreach_mul(ctx.saved_tensors, 0.5 * ctx.weight_decay * grad)
        torch._foreach_mul_(gradients, 2.0 * math.log(2.0))
        return None, *gradients
