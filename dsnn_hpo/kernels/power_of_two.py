"""Weights as signed powers of two: DeepShift-Q and DeepShift-PS.

Elhoushi et al., "DeepShift: Towards Multiplication-Less Neural Networks", CVPRW 2021, arXiv 1905.13298. An effective
weight is ``s * 2**p`` with an integer ``p <= 0``, so that multiplying an activation by it is a shift and a sign.

Every value returned here is an exact power of two, or zero. At 8 bits DeepShift-Q reaches 2**-127, which float32 and
bfloat16 hold as a subnormal number: exact as long as subnormals are not flushed (``torch.set_flush_denormal``).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

ShiftType = Literal["Q", "PS"]
WeightRounding = Literal["deterministic", "stochastic"]

MIN_WEIGHT_BITS = 2
MAX_WEIGHT_BITS = 8


def exponent_range(shift_type: ShiftType, weight_bits: int) -> tuple[int, int]:
    """Returns the smallest and the largest exponent p of a code of ``weight_bits`` bits, its sign included.

    Q has no code for zero: p in [-(2**(b-1) - 1), 0]. PS spends one code on zero: p in [-(2**(b-1) - 2), 0], so that
    2 bits are the ternary {-1, 0, 1}. Raises ValueError outside 2 to 8 bits or for another type.
    """
    if shift_type not in ("Q", "PS"):
        raise ValueError(f"shift_type must be 'Q' or 'PS', not {shift_type!r}")
    if not MIN_WEIGHT_BITS <= weight_bits <= MAX_WEIGHT_BITS:
        raise ValueError(f"weight_bits must be {MIN_WEIGHT_BITS} to {MAX_WEIGHT_BITS}, not {weight_bits!r}")
    return -(2 ** (weight_bits - 1) - (1 if shift_type == "Q" else 2)), 0


def power_of_two_q_reference(weight: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic") -> Tensor:
    """Returns ``s * 2**round(log2|w|)``, shape and dtype of ``weight``, without a gradient.

    |w| is first limited to the range of the exponent; s is the sign of w, and +1 for an exact zero, which therefore
    becomes ``+2**p_min`` (Q has no zero). NaN stays NaN. With w = m * 2**e and m in [1/2, 1), deterministic rounding
    takes p = e if m**2 > 1/2, else e - 1: exactly round(log2|w|), which never ties because no float is an odd power
    of sqrt(2). Stochastic rounding takes p = floor(log2|w|) + Bernoulli(log2|w| - floor(log2|w|)).

    Raises ValueError where the dtype cannot hold 2**p_min (float16 beyond 5 bits).
    """
    lowest, highest = exponent_range("Q", weight_bits)
    powers = _power_table(lowest, highest, weight)
    with torch.no_grad():
        magnitude = _at_least_single(weight).abs().clamp(2.0**lowest, 2.0**highest)
        mantissa, exponent = torch.frexp(magnitude)
        if rounding == "deterministic":
            rounds_up = mantissa * mantissa > 0.5
        else:
            rounds_up = torch.rand_like(mantissa) < torch.log2(2.0 * mantissa)
        index = (exponent - 1 + rounds_up - lowest).clamp(0, highest - lowest).long()
        value = powers[index]
        return torch.where(weight.isnan(), weight, torch.where(weight < 0, -value, value))


def power_of_two_ps_reference(
    shift: Tensor, sign: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic"
) -> Tensor:
    """Returns ``sign(round(S)) * 2**round(P)``, shape and dtype of ``shift``, without a gradient.

    P (``shift``) is limited to the range of the exponent; S (``sign``) becomes -1, 0 or 1, and 0 where |S| <= 1/2.
    Deterministic rounding is to the nearest integer, halves to even; stochastic rounding of both is
    floor(x) + Bernoulli(x - floor(x)). NaN in either stays NaN. Raises ValueError as ``power_of_two_q_reference``.
    """
    lowest, highest = exponent_range("PS", weight_bits)
    powers = _power_table(lowest, highest, shift)
    with torch.no_grad():
        exponent = _round(shift.clamp(lowest, highest), rounding)
        index = (exponent.nan_to_num(nan=lowest) - lowest).long()
        value = powers[index] * torch.sign(_round(sign, rounding))
        return torch.where(shift.isnan() | sign.isnan(), torch.nan, value)


def power_of_two_q(weight: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic") -> Tensor:
    """Returns ``power_of_two_q_reference`` with the straight-through gradient dL/dW = dL/dw~."""
    return straight_through_q(weight, power_of_two_q_reference(weight, weight_bits, rounding))


def power_of_two_ps(
    shift: Tensor, sign: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic"
) -> Tensor:
    """Returns ``power_of_two_ps_reference`` with dL/dS = dL/dw~ and dL/dP = dL/dw~ * w~ * ln 2."""
    return straight_through_ps(shift, sign, power_of_two_ps_reference(shift, sign, weight_bits, rounding))


def straight_through_q(weight: Tensor, value: Tensor) -> Tensor:
    """Returns ``value``, rounded from ``weight`` before, and passes its gradient to ``weight`` unchanged."""
    return _StraightThroughQ.apply(weight, value)  # type: ignore[no-any-return, no-untyped-call]


def straight_through_ps(shift: Tensor, sign: Tensor, value: Tensor) -> Tensor:
    """Returns ``value``, rounded from P and S before, and gives them the gradients of ``power_of_two_ps``."""
    return _StraightThroughPS.apply(shift, sign, value)  # type: ignore[no-any-return, no-untyped-call]


def _power_table(lowest: int, highest: int, like: Tensor) -> Tensor:
    # Exponentials of a device's mathematical library need not be exact at integers; a table is.
    info = torch.finfo(like.dtype)
    if 2.0**lowest < info.tiny * info.eps:
        raise ValueError(f"{like.dtype} cannot hold 2**{lowest}: use fewer weight bits or a wider dtype")
    return torch.tensor([2.0**p for p in range(lowest, highest + 1)], dtype=like.dtype, device=like.device)


def _at_least_single(x: Tensor) -> Tensor:
    return x if torch.finfo(x.dtype).bits >= 32 else x.float()


def _round(x: Tensor, rounding: WeightRounding) -> Tensor:
    if rounding == "deterministic":
        return torch.round(x)
    below = torch.floor(x)
    return below + (torch.rand_like(x) < x - below)


class _StraightThroughQ(Function):
    @staticmethod
    def forward(_ctx: Any, _weight: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _StraightThroughPS(Function):
    @staticmethod
    def forward(ctx: Any, _shift: Tensor, _sign: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (value,) = ctx.saved_tensors
        return grad * value * math.log(2.0), grad, None
