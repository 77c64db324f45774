"""Triton kernels of the quantisers: one element of a flat buffer after the other, read once and written once.

Every arithmetic step is that of the reference in plain torch, or an integer operation with the same result, so that
the values are equal bit for bit. Launch them with ``enable_fp_fusion=False``: a fused multiply-add rounds once where
the reference rounds twice.
"""

from __future__ import annotations

import triton
import triton.language as tl

# log2(1 + t), the polynomial of the reference
_LOG2_9 = tl.constexpr(float.fromhex("0x1.f0b4d4p-8"))
_LOG2_8 = tl.constexpr(float.fromhex("-0x1.5db188p-5"))
_LOG2_7 = tl.constexpr(float.fromhex("0x1.cf0f9ap-4"))
_LOG2_6 = tl.constexpr(float.fromhex("-0x1.940a46p-3"))
_LOG2_5 = tl.constexpr(float.fromhex("0x1.1a5642p-2"))
_LOG2_4 = tl.constexpr(float.fromhex("-0x1.6f07e0p-2"))
_LOG2_3 = tl.constexpr(float.fromhex("0x1.ec3b70p-2"))
_LOG2_2 = tl.constexpr(float.fromhex("-0x1.715386p-1"))
_LOG2_1 = tl.constexpr(float.fromhex("0x1.715476p+0"))


@triton.jit
def _log2_of_mantissa(t):
    y = _LOG2_9 * t + _LOG2_8
    y = y * t + _LOG2_7
    y = y * t + _LOG2_6
    y = y * t + _LOG2_5
    y = y * t + _LOG2_4
    y = y * t + _LOG2_3
    y = y * t + _LOG2_2
    y = y * t + _LOG2_1
    return y * t


@triton.jit
def _uniform(seed, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    """The random numbers of this program's elements: element i takes word i % 4 of the Philox block i // 4."""
    blocks = tl.program_id(0).to(tl.int64) * (BLOCK // 4) + tl.arange(0, BLOCK // 4)
    low = (blocks & 0xFFFFFFFF).to(tl.uint32)
    high = (blocks >> 32).to(tl.uint32)
    stream = tl.full((BLOCK // 4,), STREAM, tl.uint32)
    a, b, c, d = tl.philox(seed, low, high, stream, tl.zeros((BLOCK // 4,), tl.uint32))
    words = tl.interleave(tl.interleave(a, c), tl.interleave(b, d))
    return (words >> 8).to(tl.float32) * 5.9604644775390625e-08


@triton.jit
def _half_even(x):
    """The nearest integer, halves to even, with the sign of zero that torch.round gives."""
    magnitude = tl.abs(x)
    # A float32 sum with 2**23 has no bits left for a fraction.
    rounded = tl.where(magnitude < 8388608.0, (magnitude + 8388608.0) - 8388608.0, magnitude)
    sign = x.to(tl.uint32, bitcast=True) & 0x80000000
    return (rounded.to(tl.uint32, bitcast=True) | sign).to(tl.float32, bitcast=True)


@triton.jit
def _stochastic(x, uniform, dtype: tl.constexpr):
    """The integer below x or the next, with the probability of the remainder as ``dtype`` holds it."""
    below = tl.floor(x)
    return below + (uniform < (x - below).to(dtype).to(tl.float32)).to(tl.float32)


@triton.jit
def _power_of_two(exponent):
    """2.0**exponent for an int32 in -127 ... 127; the lowest is subnormal."""
    bits = tl.where(exponent < -126, 1 << 22, (exponent + 127) << 23)
    return bits.to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["seed"])
def power_of_two_q_kernel(
    weight_ptr, out_ptr, n, seed, LOWEST: tl.constexpr, STOCHASTIC: tl.constexpr, BLOCK: tl.constexpr
):
    """DeepShift-Q: log2|w| rounded, from the bits of w, to exponents ``LOWEST`` to 0."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < n
    original = tl.load(weight_ptr + offsets, mask=inside, other=0.0)
    weight = original.to(tl.float32)
    bits = weight.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    if STOCHASTIC:
        LOWEST_BITS: tl.constexpr = 1 << 22 if LOWEST < -126 else (127 + LOWEST) << 23
        bits = tl.minimum(tl.maximum(bits, LOWEST_BITS), 0x3F800000)
        # A subnormal magnitude is at least half the smallest normal number: doubled, it has the fraction of one.
        fraction = tl.where(bits < 0x800000, bits << 1, bits) & 0x7FFFFF
        t = (fraction | 0x3F800000).to(tl.float32, bitcast=True) - 1.0
        rounds_up = _uniform(seed, 0, BLOCK) < _log2_of_mantissa(t)
        exponent = (bits >> 23) - 127 + rounds_up.to(tl.int32)
    else:
        # A mantissa from 0x3504F4 on lies above sqrt(2): it carries into the exponent.
        exponent = ((bits + 0x4AFB0C) >> 23) - 127
        # Below 2**-126, where only 8 bits reach, the threshold is sqrt(2) * 2**-127.
        exponent = tl.where(bits < 0x800000, tl.where(bits < 0x5A827A, -127, -126), exponent)
    value = _power_of_two(tl.minimum(tl.maximum(exponent, LOWEST), 0))
    value = tl.where(weight < 0.0, -value, value).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offsets, tl.where(weight != weight, original, value), mask=inside)


@triton.jit(do_not_specialize=["seed"])
def power_of_two_ps_kernel(
    shift_ptr, sign_ptr, out_ptr, n, seed, LOWEST: tl.constexpr, STOCHASTIC: tl.constexpr, BLOCK: tl.constexpr
):
    """DeepShift-PS: sign(round(S)) * 2**round(P), exponents ``LOWEST`` to 0."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < n
    dtype: tl.constexpr = out_ptr.dtype.element_ty
    shift = tl.load(shift_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    sign = tl.load(sign_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    is_nan = (shift != shift) | (sign != sign)
    shift = tl.where(is_nan, 0.0, tl.minimum(tl.maximum(shift, LOWEST), 0.0))
    if STOCHASTIC:
        shift = _stochastic(shift, _uniform(seed, 0, BLOCK), dtype)
        sign = _stochastic(sign, _uniform(seed, 1, BLOCK), dtype)
    else:
        shift = _half_even(shift)
    value = _power_of_two(shift.to(tl.int32))
    # One half rounds to the even zero: the sign needs no rounding beyond this comparison.
    value = tl.where(sign > 0.5, value, tl.where(sign < -0.5, -value, 0.0))
    value = tl.where(is_nan, float("nan"), value)
    tl.store(out_ptr + offsets, value.to(dtype), mask=inside)


@triton.jit
def power_of_two_ps_backward_kernel(grad_ptr, value_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """dL/dP = dL/dw~ * w~ * ln 2, each product rounded to the tensors' dtype."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < n
    dtype = out_ptr.dtype.element_ty
    grad = tl.load(grad_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(value_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    product = (grad * value).to(dtype).to(tl.float32)
    tl.store(out_ptr + offsets, (product * 0.6931471805599453).to(dtype), mask=inside)


@triton.jit(do_not_specialize=["seed"])
def fixed_point_kernel(
    x_ptr, out_ptr, n, seed, scale, step, lowest, highest, ROUNDING: tl.constexpr, BLOCK: tl.constexpr
):
    """Fixed point: clamp(round(x * scale) * step, lowest, highest); NaN stays."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offsets < n
    x = tl.load(x_ptr + offsets, mask=inside, other=0.0)
    scaled = x.to(tl.float32) * scale
    if ROUNDING == "nearest":
        rounded = _half_even(scaled)
    elif ROUNDING == "floor":
        rounded = tl.floor(scaled)
    else:
        rounded = _stochastic(scaled, _uniform(seed, 0, BLOCK), tl.float32)
    value = tl.minimum(tl.maximum(rounded * step, lowest), highest).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + offsets, tl.where(scaled != scaled, x, value), mask=inside)
