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

from dsnn_hpo.kernels._library import n_threads
from dsnn_hpo.kernels._ops import INT32, INT64, LIBRARY, POINTER, UINT64, flat_output, require_float, typed
from dsnn_hpo.kernels._philox import draw_seed, uniform_like, unsigned

ShiftType = Literal["Q", "PS"]
WeightRounding = Literal["deterministic", "stochastic"]

MIN_WEIGHT_BITS = 2
MAX_WEIGHT_BITS = 8

# log2(1 + t) / t on [0, 1], fitted at Chebyshev nodes and rounded to float32; from t**0 to t**8.
_LOG2_COEFFICIENTS = tuple(
    map(
        float.fromhex,
        (
            "0x1.715476p+0",
            "-0x1.715386p-1",
            "0x1.ec3b70p-2",
            "-0x1.6f07e0p-2",
            "0x1.1a5642p-2",
            "-0x1.940a46p-3",
            "0x1.cf0f9ap-4",
            "-0x1.5db188p-5",
            "0x1.f0b4d4p-8",
        ),
    )
)


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


def power_of_two_q_reference(
    weight: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic", seed: int | None = None
) -> Tensor:
    """Returns ``s * 2**round(log2|w|)``, shape and dtype of ``weight``, without a gradient.

    |w| is first limited to the range of the exponent; s is the sign of w, and +1 for an exact zero, which therefore
    becomes ``+2**p_min`` (Q has no zero). NaN stays NaN. With w = m * 2**e and m in [1/2, 1), deterministic rounding
    takes p = e if m**2 > 1/2, else e - 1: exactly round(log2|w|), which never ties because no float is an odd power
    of sqrt(2). Stochastic rounding takes p = floor(log2|w|) + Bernoulli(log2|w| - floor(log2|w|)), the probability
    from a polynomial within 2e-7, the random number of element i that of ``_philox`` for ``seed``, drawn if None.

    Raises ValueError where the dtype cannot hold 2**p_min (float16 beyond 5 bits), TypeError where it is no
    floating-point dtype.
    """
    require_float("power_of_two_q", weight)
    lowest, highest = exponent_range("Q", weight_bits)
    powers = _power_table(lowest, highest, weight)
    with torch.no_grad():
        magnitude = _at_least_single(weight).abs().clamp(2.0**lowest, 2.0**highest)
        mantissa, exponent = torch.frexp(magnitude)
        if _is_deterministic(rounding):
            rounds_up = mantissa * mantissa > 0.5
        else:
            random = uniform_like(weight, int(draw_seed()) if seed is None else seed)
            rounds_up = random < log2_of_mantissa(2.0 * mantissa - 1.0)
        index = (exponent - 1 + rounds_up - lowest).clamp(0, highest - lowest).long()
        value = powers[index]
        return torch.where(weight.isnan(), weight, torch.where(weight < 0, -value, value))


def power_of_two_ps_reference(
    shift: Tensor,
    sign: Tensor,
    weight_bits: int,
    rounding: WeightRounding = "deterministic",
    seed: int | None = None,
) -> Tensor:
    """Returns ``sign(round(S)) * 2**round(P)``, shape and dtype of ``shift``, without a gradient.

    P (``shift``) is limited to the range of the exponent; S (``sign``) becomes -1, 0 or 1, and 0 where |S| <= 1/2.
    Deterministic rounding is to the nearest integer, halves to even; stochastic rounding of both is
    floor(x) + Bernoulli(x - floor(x)), with the random numbers of ``_philox`` for ``seed``, drawn if None: stream 0 for
    P, stream 1 for S. NaN in either stays NaN. Raises as ``power_of_two_q_reference``, and ValueError unless the
    shapes are equal.
    """
    _check_ps(shift, sign)
    lowest, highest = exponent_range("PS", weight_bits)
    powers = _power_table(lowest, highest, shift)
    key = None
    if not _is_deterministic(rounding):
        key = int(draw_seed()) if seed is None else seed
    with torch.no_grad():
        exponent = _round(shift.clamp(lowest, highest), key, stream=0)
        index = (exponent.nan_to_num(nan=lowest) - lowest).long()
        value = powers[index] * torch.sign(_round(sign, key, stream=1))
        return torch.where(shift.isnan() | sign.isnan(), torch.nan, value)


def power_of_two_q(weight: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic") -> Tensor:
    """Returns ``power_of_two_q_reference`` with the straight-through gradient dL/dW = dL/dw~.

    Stochastic rounding draws its seed from torch's generator of the CPU, once a call.
    """
    seed = None if _is_deterministic(rounding) else draw_seed()
    return _Q(weight, weight_bits, seed)  # type: ignore[no-any-return]


def power_of_two_ps(
    shift: Tensor, sign: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic"
) -> Tensor:
    """Returns ``power_of_two_ps_reference`` with dL/dS = dL/dw~ and dL/dP = dL/dw~ * w~ * ln 2.

    Stochastic rounding draws its seed from torch's generator of the CPU, once a call.
    """
    seed = None if _is_deterministic(rounding) else draw_seed()
    return _PS(shift, sign, weight_bits, seed)  # type: ignore[no-any-return]


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


def log2_of_mantissa(t: Tensor) -> Tensor:
    """Returns log2(1 + t) for t in [0, 1) within 2e-7, exactly 0 for 0, shape and dtype of ``t``.

    A polynomial by Horner's rule, each product and sum rounded by itself: the same bits wherever it is computed.
    """
    total = torch.full_like(t, _LOG2_COEFFICIENTS[-1])
    for coefficient in _LOG2_COEFFICIENTS[-2::-1]:
        total = total * t + coefficient
    return total * t


def _is_deterministic(rounding: WeightRounding) -> bool:
    if rounding not in ("deterministic", "stochastic"):
        raise ValueError(f"rounding must be 'deterministic' or 'stochastic', not {rounding!r}")
    return rounding == "deterministic"


def _check_ps(shift: Tensor, sign: Tensor) -> None:
    require_float("power_of_two_ps", shift, sign)
    if shift.shape != sign.shape:
        raise ValueError(f"shift and sign must be of one shape, not {tuple(shift.shape)} and {tuple(sign.shape)}")


def _round(x: Tensor, seed: int | None, stream: int) -> Tensor:
    if seed is None:
        return torch.round(x)
    below = torch.floor(x)
    return below + (uniform_like(x, seed, stream) < x - below)


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
        return _PS_BACKWARD(grad, value), grad, None


LIBRARY.define("power_of_two_q(Tensor weight, int weight_bits, Tensor? seed=None) -> Tensor")
LIBRARY.define("power_of_two_ps(Tensor shift, Tensor sign, int weight_bits, Tensor? seed=None) -> Tensor")
LIBRARY.define("power_of_two_ps_backward(Tensor grad, Tensor value) -> Tensor")
_Q = torch.ops.dsnn_hpo.power_of_two_q.default
_PS = torch.ops.dsnn_hpo.power_of_two_ps.default
_PS_BACKWARD = torch.ops.dsnn_hpo.power_of_two_ps_backward.default
_Q_ARGUMENTS = (POINTER, POINTER, INT64, INT32, INT32, UINT64, INT32)
_PS_ARGUMENTS = (POINTER, *_Q_ARGUMENTS)
_PS_BACKWARD_ARGUMENTS = (POINTER, POINTER, POINTER, INT64, INT32)


def _power_of_two_q(weight: Tensor, weight_bits: int, seed: Tensor | None = None) -> Tensor:
    lowest, _ = exponent_range("Q", weight_bits)
    require_float("power_of_two_q", weight)
    key = None if seed is None else int(seed)
    compiled = flat_output("power_of_two_q", weight)
    if compiled is None:
        return power_of_two_q_reference(weight, weight_bits, _rounding(key), key)
    loaded, value = compiled
    typed(loaded, "dsnn_power_of_two_q", *_Q_ARGUMENTS)(
        weight.data_ptr(), value.data_ptr(), weight.numel(), lowest, seed is not None, unsigned(key), n_threads()
    )
    return value


def _power_of_two_ps(shift: Tensor, sign: Tensor, weight_bits: int, seed: Tensor | None = None) -> Tensor:
    lowest, _ = exponent_range("PS", weight_bits)
    _check_ps(shift, sign)
    key = None if seed is None else int(seed)
    compiled = flat_output("power_of_two_ps", shift, sign)
    if compiled is None:
        return power_of_two_ps_reference(shift, sign, weight_bits, _rounding(key), key)
    loaded, value = compiled
    typed(loaded, "dsnn_power_of_two_ps", *_PS_ARGUMENTS)(
        shift.data_ptr(),
        sign.data_ptr(),
        value.data_ptr(),
        shift.numel(),
        lowest,
        seed is not None,
        unsigned(key),
        n_threads(),
    )
    return value


def _power_of_two_ps_backward(grad: Tensor, value: Tensor) -> Tensor:
    compiled = flat_output("power_of_two_ps_backward", grad, value)
    if compiled is None:
        return grad * value * math.log(2.0)
    loaded, grad_shift = compiled
    typed(loaded, "dsnn_power_of_two_ps_backward", *_PS_BACKWARD_ARGUMENTS)(
        grad.data_ptr(), value.data_ptr(), grad_shift.data_ptr(), grad.numel(), n_threads()
    )
    return grad_shift


def _rounding(seed: int | None) -> WeightRounding:
    return "deterministic" if seed is None else "stochastic"


LIBRARY.impl("power_of_two_q", _power_of_two_q, "CompositeExplicitAutograd")
LIBRARY.impl("power_of_two_ps", _power_of_two_ps, "CompositeExplicitAutograd")
LIBRARY.impl("power_of_two_ps_backward", _power_of_two_ps_backward, "CompositeExplicitAutograd")


@torch.library.register_fake("dsnn_hpo::power_of_two_q", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(weight: Tensor, weight_bits: int, _seed: Tensor | None = None) -> Tensor:
    require_float("power_of_two_q", weight)
    exponent_range("Q", weight_bits)
    return torch.empty_like(weight)


@torch.library.register_fake("dsnn_hpo::power_of_two_ps", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(shift: Tensor, sign: Tensor, weight_bits: int, _seed: Tensor | None = None) -> Tensor:
    _check_ps(shift, sign)
    exponent_range("PS", weight_bits)
    return torch.empty_like(shift)


@torch.library.register_fake("dsnn_hpo::power_of_two_ps_backward", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(grad: Tensor, value: Tensor) -> Tensor:
    return grad * value


def _q_backward(_ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return grad, None, None


def _keep_value(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(output)


def _ps_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
    (value,) = ctx.saved_tensors
    return _PS_BACKWARD(grad, value), grad, None, None


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs)


def _ps_backward_backward(ctx: Any, grad_of_grad: Tensor) -> tuple[Tensor, Tensor]:
    # dL/dP is a product of grad, w~ and a constant: each factor's gradient is the same function of the other.
    grad, value = ctx.saved_tensors
    return _PS_BACKWARD(grad_of_grad, value), _PS_BACKWARD(grad_of_grad, grad)


torch.library.register_autograd("dsnn_hpo::power_of_two_q", _q_backward, lib=LIBRARY)
torch.library.register_autograd("dsnn_hpo::power_of_two_ps", _ps_backward, setup_context=_keep_value, lib=LIBRARY)
torch.library.register_autograd(
    "dsnn_hpo::power_of_two_ps_backward", _ps_backward_backward, setup_context=_keep_inputs, lib=LIBRARY
)
