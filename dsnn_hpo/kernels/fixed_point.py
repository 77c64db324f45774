"""Activations in fixed point: I integer bits, the sign among them, and F fraction bits (arXiv 1905.13298)."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dsnn_hpo.kernels._library import n_threads
from dsnn_hpo.kernels._ops import FLOAT, INT32, INT64, LIBRARY, POINTER, UINT64, flat_output, require_float, typed
from dsnn_hpo.kernels._philox import draw_seed, uniform_like, unsigned

FixedPointRounding = Literal["floor", "nearest", "stochastic"]
# In this order the compiled kernels number them.
ROUNDINGS: tuple[FixedPointRounding, ...] = get_args(FixedPointRounding)

MAX_FIXED_POINT_BITS = 32


def fixed_point_range(integer_bits: int, fraction_bits: int, dtype: torch.dtype) -> tuple[float, float]:
    """Returns the least and the greatest value of the format that ``dtype`` holds: [-2**(I-1), 2**(I-1) - 2**-F].

    A dtype with a short significand cannot hold the upper end of a long format (float32: I + F > 25); its greatest
    value inside the range takes the place. Raises ValueError unless I and F are 1 to 32.
    """
    _check_bits(integer_bits, fraction_bits)
    info = torch.finfo(dtype)
    bound = 2.0 ** (integer_bits - 1)
    # eps / 2 * bound: the distance between neighbouring floats just below the power of two ``bound``
    top = bound - max(2.0**-fraction_bits, info.eps / 2 * bound)
    return max(-bound, info.min), min(top, info.max)


def fixed_point_reference(
    x: Tensor,
    integer_bits: int,
    fraction_bits: int,
    rounding: FixedPointRounding = "floor",
    seed: int | None = None,
) -> Tensor:
    """Returns ``clamp(round(x * 2**F) / 2**F, -2**(I-1), 2**(I-1) - 2**-F)``, shape and dtype of ``x``.

    ``rounding`` is "floor", "nearest" (halves to even) or "stochastic" (floor, plus one step with a probability of the
    remainder; the random number of element i is that of ``_philox`` for ``seed``, drawn if None). The result carries no
    gradient; infinities become the ends of the range and NaN stays NaN. Raises ValueError unless I and F are 1 to 32,
    or for another rounding; TypeError unless ``x`` is of a floating-point dtype.
    """
    check_fixed_point(x, integer_bits, fraction_bits, rounding)
    lowest, highest = fixed_point_range(integer_bits, fraction_bits, x.dtype)
    with torch.no_grad():
        # float32 at least: in float16 the scaled value would overflow
        scaled = x.to(torch.promote_types(x.dtype, torch.float32), copy=True).mul_(2.0**fraction_bits)
        if rounding == "floor":
            scaled.floor_()
        elif rounding == "nearest":
            scaled.round_()
        else:
            below = scaled.floor()
            random = uniform_like(x, int(draw_seed()) if seed is None else seed)
            scaled = below + (random < scaled.sub_(below))
        return scaled.mul_(2.0**-fraction_bits).clamp_(lowest, highest).to(x.dtype)


def fixed_point(x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding = "floor") -> Tensor:
    """Returns ``fixed_point_reference`` with the straight-through gradient dL/dx = dL/dy, outside the range too.

    Stochastic rounding draws its seed from torch's generator of the CPU, once a call.
    """
    seed = draw_seed() if rounding == "stochastic" else None
    return _OP(x, integer_bits, fraction_bits, rounding, seed)  # type: ignore[no-any-return]


LIBRARY.define("fixed_point(Tensor x, int integer_bits, int fraction_bits, str rounding, Tensor? seed=None) -> Tensor")
_OP = torch.ops.dsnn_hpo.fixed_point.default
_ARGUMENTS = (POINTER, POINTER, INT64, FLOAT, FLOAT, FLOAT, FLOAT, INT32, UINT64, INT32)


def _fixed_point(
    x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding, seed: Tensor | None = None
) -> Tensor:
    check_fixed_point(x, integer_bits, fraction_bits, rounding)
    key = None if seed is None else int(seed)
    compiled = flat_output("fixed_point", x)
    if compiled is None:
        return fixed_point_reference(x, integer_bits, fraction_bits, rounding, key)
    loaded, y = compiled
    typed(loaded, "dsnn_fixed_point", *_ARGUMENTS)(
        x.data_ptr(),
        y.data_ptr(),
        x.numel(),
        2.0**fraction_bits,
        2.0**-fraction_bits,
        *fixed_point_range(integer_bits, fraction_bits, x.dtype),
        ROUNDINGS.index(rounding),
        unsigned(key),
        n_threads(),
    )
    return y


def check_fixed_point(x: Tensor, integer_bits: int, fraction_bits: int, rounding: str) -> None:
    """Returns nothing; raises as ``fixed_point_reference`` on arguments that it does not take."""
    require_float("fixed_point", x)
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding must be one of {', '.join(map(repr, ROUNDINGS))}, not {rounding!r}")
    _check_bits(integer_bits, fraction_bits)


def _check_bits(integer_bits: int, fraction_bits: int) -> None:
    for name, bits in (("integer_bits", integer_bits), ("fraction_bits", fraction_bits)):
        if not 1 <= bits <= MAX_FIXED_POINT_BITS:
            raise ValueError(f"{name} must be 1 to {MAX_FIXED_POINT_BITS}, not {bits!r}")


LIBRARY.impl("fixed_point", _fixed_point, "CompositeExplicitAutograd")


@torch.library.register_fake("dsnn_hpo::fixed_point", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(x: Tensor, integer_bits: int, fraction_bits: int, rounding: str, _seed: Tensor | None = None) -> Tensor:
    check_fixed_point(x, integer_bits, fraction_bits, rounding)
    return torch.empty_like(x)


def _backward(_ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
    return grad, None, None, None, None


torch.library.register_autograd("dsnn_hpo::fixed_point", _backward, lib=LIBRARY)
