"""Activations in fixed point: I integer bits, the sign among them, and F fraction bits (arXiv 1905.13298)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

FixedPointRounding = Literal["floor", "nearest", "stochastic"]

MAX_FIXED_POINT_BITS = 32


def fixed_point_range(integer_bits: int, fraction_bits: int, dtype: torch.dtype) -> tuple[float, float]:
    """Returns the least and the greatest value of the format that ``dtype`` holds: [-2**(I-1), 2**(I-1) - 2**-F].

    A dtype with a short significand cannot hold the upper end of a long format (float32: I + F > 25); its greatest
    value inside the range takes the place. Raises ValueError unless I and F are 1 to 32.
    """
    for name, bits in (("integer_bits", integer_bits), ("fraction_bits", fraction_bits)):
        if not 1 <= bits <= MAX_FIXED_POINT_BITS:
            raise ValueError(f"{name} must be 1 to {MAX_FIXED_POINT_BITS}, not {bits!r}")
    info = torch.finfo(dtype)
    bound = 2.0 ** (integer_bits - 1)
    # eps / 2 * bound: the distance between neighbouring floats just below the power of two ``bound``
    top = bound - max(2.0**-fraction_bits, info.eps / 2 * bound)
    return max(-bound, info.min), min(top, info.max)


def fixed_point_reference(
    x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding = "floor"
) -> Tensor:
    """Returns ``clamp(round(x * 2**F) / 2**F, -2**(I-1), 2**(I-1) - 2**-F)``, shape and dtype of ``x``.

    ``rounding`` is "floor", "nearest" (halves to even) or "stochastic" (floor, plus one step with a probability of the
    remainder). The result carries no gradient; infinities become the ends of the range and NaN stays NaN. Raises
    ValueError unless I and F are 1 to 32.
    """
    lowest, highest = fixed_point_range(integer_bits, fraction_bits, x.dtype)
    with torch.no_grad():
        # float32 at least: in float16 the scaled value would overflow
        scaled = x.to(torch.promote_types(x.dtype, torch.float32), copy=True).mul_(2.0**fraction_bits)
        if rounding == "floor":
            scaled.floor_()
        elif rounding == "nearest":
            scaled.round_()
        else:
            remainder = scaled.frac()
            remainder += remainder < 0
            scaled.floor_().add_(torch.rand_like(scaled) < remainder)
        return scaled.mul_(2.0**-fraction_bits).clamp_(lowest, highest).to(x.dtype)


def fixed_point(x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding = "floor") -> Tensor:
    """Returns ``fixed_point_reference`` with the straight-through gradient dL/dx = dL/dy, outside the range too."""
    return _FixedPoint.apply(x, integer_bits, fraction_bits, rounding)  # type: ignore[no-any-return, no-untyped-call]


class _FixedPoint(Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding) -> Tensor:
        return fixed_point_reference(x, integer_bits, fraction_bits, rounding)

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad, None, None, None
