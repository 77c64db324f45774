"""Linear layers with packed weights: on 8-bit integers, or on floats."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dsnn_hpo.kernels import _library
from dsnn_hpo.kernels._ops import (
    INT32,
    LIBRARY,
    NOT_FINITE,
    POINTER,
    is_direct,
    pointer,
    require,
    require_memory,
    require_together,
)
from dsnn_hpo.kernels.packed_weight import Facts, PackedWeight

FEW_ROWS = 16
"""Up to so many rows the float kernel reads the packed weight; for more, torch multiplies by the unpacked one."""

_SMALLEST_ROW = 2.0**-119
_NOT_FINITE = "x has NaN or infinite values, which 8 bits cannot hold"


def linear_int8(x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``x @ w.T + bias`` with x rounded to 8 bits, row by row; exact integers between two roundings.

    With ``a = max|x|`` of a row (rows of a below 2**-119 count as zeros) and the weight's integers w::

        q = clamp(round_half_to_even(x * (127 / a)), -127, 127)
        y = float32(sum q * w) * 2**exponents * (a / 127) + bias

    Args:
        x: float32, shape (..., k).
        weight: packed from shape (n, k).
        bias: float32, shape (n,), or None.

    Returns:
        float32, shape (..., n). The gradient of x is that of the float layer (straight through the rounding).

    Raises:
        TypeError: a dtype is wrong.
        ValueError: a shape or device is wrong, or x has NaN or infinite values; on a GPU, where raising would have to
            wait for the result, such a row becomes NaN instead.
    """
    _require_linear(x, weight)
    if is_direct(x, bias):
        return _linear_int8_cpu(x, weight, bias)
    return torch.ops.dsnn_hpo.linear_int8(x, *_tensors(weight), bias, *_numbers(weight))  # type: ignore[no-any-return]


def linear_packed(x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``x @ w.T + bias`` in float32: few rows on the packed weight, many on the unpacked one, kept.

    Args:
        x: float32, shape (..., k).
        weight: packed from shape (n, k).
        bias: float32, shape (n,), or None.

    Returns:
        float32, shape (..., n), within the rounding of float32 sums in another order, as long as no sum of |x| times
        the row's largest over its smallest weight passes 2**127. Its gradient is exact.

    Raises:
        TypeError: a dtype is wrong.
        ValueError: a shape or device is wrong.
    """
    _require_linear(x, weight)
    if x.numel() > FEW_ROWS * weight.shape[1] and x.device.type == "cpu":
        return F.linear(_checked(x, weight.shape[1], weight.shape[0], bias), weight.dense, bias)
    if is_direct(x, bias):
        return _linear_packed_cpu(x, weight, bias)
    return torch.ops.dsnn_hpo.linear_packed(x, *_tensors(weight), bias, *_numbers(weight))  # type: ignore[no-any-return]


def linear_int8_reference(x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``linear_int8`` in plain torch."""
    largest = x.abs().amax(-1, keepdim=True)
    if not torch.isfinite(largest).all():
        raise ValueError(_NOT_FINITE)
    is_zero = largest < _SMALLEST_ROW
    # A tensor of 127: torch divides a number by a tensor, or on a GPU a tensor by a number, in two roundings.
    limit = torch.full_like(largest, 127.0)
    factor = torch.where(is_zero, 0.0, limit / largest)
    row_scale = torch.where(is_zero, 0.0, largest / limit)
    q = (x * factor).round().clamp(-127.0, 127.0)
    # Sums of at most 2**17 products of 127 and 2**31 fit 64 bits; with 2**20 they are exact in float64 too.
    dtype = torch.int64 if int(weight.n_planes.max()) > 3 else torch.float64
    sums = q.to(dtype) @ weight.integers().to(dtype).T
    y = sums.to(torch.float32) * weight.scales * row_scale
    # Without a bias a zero is added, which turns -0 to 0.
    return y + (x.new_zeros(()) if bias is None else bias)


def linear_packed_reference(x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``linear_packed`` in plain torch."""
    return F.linear(x, weight.unpack(), bias)


_SCHEMA = (
    "(Tensor x, Tensor codes, Tensor exponents, Tensor n_planes, Tensor row_sums, Tensor scales, Tensor? bias, "
    "int[] shape, int bits, bool has_zero) -> Tensor"
)


class WeightStructure(ctypes.Structure):
    """A weight as the library takes it: addresses of its tensors and its format. It keeps no tensor alive."""

    _fields_ = [
        ("codes", POINTER),
        ("n_planes", POINTER),
        ("bits", INT32),
        ("has_zero", INT32),
        ("n_quads", INT32),
        ("operation", INT32),
    ]


def weight_structure(weight: PackedWeight) -> WeightStructure:
    """Returns the weight's structure, made once for each weight."""
    made = weight.__dict__.get("_structure")
    if made is None:
        made = WeightStructure(
            pointer(weight.codes), pointer(weight.n_planes), weight.bits, weight.has_zero, weight.layout.n_quads
        )
        weight.__dict__["_structure"] = made
    return made


def _addresses(weight: PackedWeight) -> tuple[Any, POINTER, POINTER]:
    """Returns structure, scales and row sums as arguments of the library, made once for each weight."""
    made = weight.__dict__.get("_addresses")
    if made is None:
        structure = ctypes.byref(weight_structure(weight))
        made = (structure, POINTER(weight.scales.data_ptr()), POINTER(weight.row_sums.data_ptr()))
        weight.__dict__["_addresses"] = made
    return made


def _linear_int8_cpu(x: Tensor, weight: PackedWeight, bias: Tensor | None) -> Tensor:
    n, k = weight.shape
    x = _checked(x, k, n, bias)
    loaded = _library.compiled_library()
    if loaded is None:
        return linear_int8_reference(x, weight, bias)
    y = x.new_empty((*x.shape[:-1], n))
    if y.numel():
        structure, scales, row_sums = _addresses(weight)
        status = loaded.dsnn_linear_int8(
            POINTER(x.data_ptr()),
            POINTER(y.data_ptr()),
            x.numel() // k,
            k,
            n,
            structure,
            scales,
            POINTER(pointer(bias)),
            row_sums,
            _library.n_threads(),
        )
        if status == NOT_FINITE:
            raise ValueError(_NOT_FINITE)
        require_memory(status)
    return y


def _linear_packed_cpu(x: Tensor, weight: PackedWeight, bias: Tensor | None) -> Tensor:
    n, k = weight.shape
    x = _checked(x, k, n, bias)
    loaded = _library.compiled_library()
    if loaded is None:
        return linear_packed_reference(x, weight, bias)
    y = x.new_empty((*x.shape[:-1], n))
    if y.numel():
        structure, scales, _ = _addresses(weight)
        status = loaded.dsnn_linear_float(
            POINTER(x.data_ptr()),
            POINTER(y.data_ptr()),
            x.numel() // k,
            k,
            n,
            structure,
            scales,
            POINTER(pointer(bias)),
            _library.n_threads(),
        )
        require_memory(status)
    return y


def _require_linear(x: Tensor, weight: PackedWeight) -> None:
    require_together(x, weight.codes)
    if len(weight.shape) != 2:
        raise ValueError(f"a linear layer needs a weight of shape (n, k), not {weight.shape}")


def _checked(x: Tensor, k: int, n: int, bias: Tensor | None) -> Tensor:
    """Returns x, contiguous."""
    if not x.is_contiguous():
        x = x.contiguous()
    # The usual case first: a check that can name what is wrong costs as much as a small kernel.
    if x.dtype is not torch.float32 or x.device.type != "cpu" or not x.dim() or x.shape[-1] != k:
        require(x, "x", dtype=torch.float32, shape=(*[None] * (x.dim() - 1), k))
    if bias is not None:
        require(bias, "bias", dtype=torch.float32, shape=(n,))
    return x


def _tensors(weight: PackedWeight) -> tuple[Tensor, ...]:
    return weight.codes, weight.exponents, weight.n_planes, weight.row_sums, weight.scales


def _numbers(weight: PackedWeight) -> tuple[list[int], int, bool]:
    return list(weight.shape), weight.bits, weight.has_zero


def _weight_of(arguments: tuple[Any, ...]) -> PackedWeight:
    """Returns the weight of an op's arguments after x."""
    codes, exponents, n_planes, row_sums, scales, _, shape, bits, has_zero = arguments
    facts = Facts(n_planes, row_sums, scales)
    return PackedWeight(codes, exponents, tuple(shape), bits, has_zero, facts=facts)


def _register(name: str, implementation: Any) -> None:
    LIBRARY.define(name + _SCHEMA)
    LIBRARY.impl(name, lambda x, *rest: implementation(x, _weight_of(rest), rest[5]), "CPU")

    def fake(x: Tensor, *rest: Any) -> Tensor:
        return x.new_empty((*x.shape[:-1], rest[6][0]))

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
        ctx.weight = _weight_of(inputs[1:])
        ctx.has_bias = inputs[6] is not None

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_bias = grad.reshape(-1, grad.shape[-1]).sum(0) if ctx.has_bias else None
        return (grad @ ctx.weight.unpack(), *[None] * 5, grad_bias, None, None, None)

    torch.library.register_fake(f"dsnn_hpo::{name}", fake, lib=LIBRARY)
    torch.library.register_autograd(f"dsnn_hpo::{name}", backward, setup_context=setup_context, lib=LIBRARY)


_register("linear_int8", _linear_int8_cpu)
_register("linear_packed", _linear_packed_cpu)
