"""Which function an op runs on CUDA tensors: a Triton kernel where triton is installed, else the reference.

Triton is imported when the first CUDA tensor arrives.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dsnn_hpo.errors import DsnnHpoWarning, KernelError
from dsnn_hpo.kernels._implementation import Implementation, current_implementation
from dsnn_hpo.kernels._ops import LIBRARY, require_float
from dsnn_hpo.kernels.adder import (
    adder_conv2d_reference,
    adder_grad_input_reference,
    adder_memory_format,
    adder_output_shape,
)
from dsnn_hpo.kernels.conv2d import Geometry
from dsnn_hpo.kernels.fixed_point import FixedPointRounding, fixed_point_reference
from dsnn_hpo.kernels.linear import linear_int8_reference
from dsnn_hpo.kernels.packed_weight import PackedWeight
from dsnn_hpo.kernels.power_of_two import WeightRounding, power_of_two_ps_reference, power_of_two_q_reference

INSTALL = "pip install 'dsnn-hpo[gpu]'"


@functools.cache
def _is_installed() -> bool:
    """Returns whether triton can be imported; says once where it cannot."""
    if importlib.util.find_spec("triton") is not None:
        return True
    warnings.warn(
        f"triton is not installed: on the GPU everything runs on the slower reference in plain torch; {INSTALL}",
        DsnnHpoWarning,
        stacklevel=2,
    )
    return False


def uses_triton(op: str) -> bool:
    """Returns whether an op on CUDA tensors should run in Triton.

    Raises KernelError where COMPILED is asked for and triton is not installed.
    """
    wanted = current_implementation()
    if wanted is Implementation.REFERENCE:
        return False
    if wanted is Implementation.COMPILED and importlib.util.find_spec("triton") is None:
        raise KernelError(f"{op}: the kernels of the GPU need triton: {INSTALL}")
    return _is_installed()


def _quantises(op: str, *tensors: Tensor) -> bool:
    require_float(op, *tensors)
    if not uses_triton(op):
        return False
    from dsnn_hpo.kernels.triton import quantise

    if quantise.is_supported(*tensors):
        return True
    if current_implementation() is Implementation.COMPILED:
        raise KernelError(
            f"{op}: the kernel takes dense float32, float16 or bfloat16 tensors of one layout, not "
            + ", ".join(f"{x.dtype} of strides {tuple(x.stride())}" for x in tensors)
        )
    return False


def _rounding(seed: Tensor | None) -> WeightRounding:
    return "deterministic" if seed is None else "stochastic"


def power_of_two_q(weight: Tensor, weight_bits: int, seed: Tensor | None = None) -> Tensor:
    """Returns ``power_of_two_q_reference``."""
    key = 0 if seed is None else int(seed)
    if not _quantises("power_of_two_q", weight):
        return power_of_two_q_reference(weight, weight_bits, _rounding(seed), key)
    from dsnn_hpo.kernels.triton import quantise

    return quantise.power_of_two_q(weight, weight_bits, _rounding(seed), key)


def power_of_two_ps(shift: Tensor, sign: Tensor, weight_bits: int, seed: Tensor | None = None) -> Tensor:
    """Returns ``power_of_two_ps_reference``."""
    key = 0 if seed is None else int(seed)
    if shift.shape != sign.shape or not _quantises("power_of_two_ps", shift, sign):
        return power_of_two_ps_reference(shift, sign, weight_bits, _rounding(seed), key)
    from dsnn_hpo.kernels.triton import quantise

    return quantise.power_of_two_ps(shift, sign, weight_bits, _rounding(seed), key)


def power_of_two_ps_backward(grad: Tensor, value: Tensor) -> Tensor:
    """Returns ``grad * value * ln 2``."""
    if not _quantises("power_of_two_ps_backward", grad, value):
        return grad * value * math.log(2.0)
    from dsnn_hpo.kernels.triton import quantise

    return quantise.power_of_two_ps_backward(grad, value)


def fixed_point(
    x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding, seed: Tensor | None = None
) -> Tensor:
    """Returns ``fixed_point_reference``."""
    key = 0 if seed is None else int(seed)
    if rounding not in ("floor", "nearest", "stochastic") or not _quantises("fixed_point", x):
        return fixed_point_reference(x, integer_bits, fraction_bits, rounding, key)
    from dsnn_hpo.kernels.triton import quantise

    return quantise.fixed_point(x, integer_bits, fraction_bits, rounding, key)


def linear_int8(
    x: Tensor,
    codes: Tensor,
    exponents: Tensor,
    n_planes: Tensor,
    _row_sums: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    shape: list[int],
    bits: int,
    has_zero: bool,
) -> Tensor:
    """Returns ``linear_int8_reference``; a row of x with a NaN or an infinity becomes NaN.

    To raise instead would mean to wait for the device.
    """
    packed = PackedWeight(codes, exponents, tuple(shape), bits, has_zero)
    _check_linear(x, packed, bias, (torch.float32,))
    if not uses_triton("linear_int8"):
        return linear_int8_reference(x, packed, bias)
    from dsnn_hpo.kernels.triton import _facts, dense_linear, linear

    rows, planes = x.reshape(-1, shape[1]), _facts.largest_plane(n_planes)
    if not rows.shape[0]:
        y = rows.new_empty(0, shape[0])
    elif rows.shape[0] <= linear.MAX_ROWS and planes <= linear.MAX_PLANES:
        y = linear.packed_linear_int8(rows, packed, scales, planes, bias)
    else:
        y = dense_linear.dense_linear_int8(rows, packed, scales, planes, bias)
    return y.view(*x.shape[:-1], shape[0])


def linear_packed(
    x: Tensor,
    codes: Tensor,
    exponents: Tensor,
    _n_planes: Tensor,
    _row_sums: Tensor,
    _scales: Tensor,
    bias: Tensor | None,
    shape: list[int],
    bits: int,
    has_zero: bool,
) -> Tensor:
    """Returns ``x @ w.T + bias`` in the dtype of x, float32, float16 or bfloat16."""
    packed = PackedWeight(codes, exponents, tuple(shape), bits, has_zero)
    _check_linear(x, packed, bias, (torch.float32, torch.float16, torch.bfloat16))
    if not uses_triton("linear_packed"):
        return F.linear(x, packed.unpack(x.dtype), None if bias is None else bias.to(x.dtype))
    from dsnn_hpo.kernels.triton import dense_linear, linear

    rows = x.reshape(-1, shape[1])
    if not rows.shape[0]:
        y = rows.new_empty(0, shape[0])
    elif rows.shape[0] <= linear.MAX_ROWS:
        y = linear.packed_linear(rows, packed, bias)
    else:
        y = dense_linear.dense_linear(rows, packed, bias)
    return y.view(*x.shape[:-1], shape[0])


def adder_conv2d(x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
    """Returns ``adder_conv2d_reference``, summed in float32."""
    shape, memory_format = adder_output_shape(x, weight, *arguments), adder_memory_format(x)
    if not shape.numel() or not _adds("adder_conv2d", x, weight):
        return adder_conv2d_reference(x, weight, *arguments)
    from dsnn_hpo.kernels.triton import adder

    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
    return adder.adder_conv2d(x, weight, _adder_shape(adder, *arguments), y)


def adder_conv2d_grad_input(grad: Tensor, x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
    """Returns ``adder_grad_input_reference``, summed in float32."""
    if not grad.numel() or not _adds("adder_conv2d_grad_input", grad, x, weight):
        return adder_grad_input_reference(grad, x, weight, *arguments)
    from dsnn_hpo.kernels.triton import adder

    dense = x.contiguous(memory_format=adder_memory_format(x))
    return adder.adder_conv2d_grad_input(grad, dense, weight, _adder_shape(adder, *arguments))


def _adds(op: str, *tensors: Tensor) -> bool:
    if not uses_triton(op):
        return False
    from dsnn_hpo.kernels.triton import adder

    if adder.is_supported(*tensors):
        return True
    if current_implementation() is Implementation.COMPILED:
        raise KernelError(
            f"{op}: the kernel takes float32, float16 or bfloat16, not {', '.join(str(x.dtype) for x in tensors)}"
        )
    return False


def _adder_shape(adder: Any, stride: list[int], padding: list[int], dilation: list[int], *rest: Any) -> Any:
    groups, exponent = rest
    geometry = Geometry((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]))
    return adder.AdderShape(geometry, groups, exponent)


def _check_linear(x: Tensor, packed: PackedWeight, bias: Tensor | None, dtypes: tuple[torch.dtype, ...]) -> None:
    n, k = packed.shape
    if x.dtype not in dtypes:
        raise TypeError(f"x must be {' or '.join(map(str, dtypes))}, not {x.dtype}")
    if not x.dim() or x.shape[-1] != k:
        raise ValueError(f"x must be of shape (..., {k}), not {tuple(x.shape)}")
    if bias is not None and bias.dtype not in dtypes:
        raise TypeError(f"bias must be {' or '.join(map(str, dtypes))}, not {bias.dtype}")
    if bias is not None and bias.shape != (n,):
        raise ValueError(f"bias must be of shape ({n},), not {tuple(bias.shape)}")
    for name, tensor in (("the weight", packed.codes), ("bias", bias)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} must be on {x.device}, as x is, not on {tensor.device}")


@functools.cache
def register() -> None:
    """Returns nothing; gives the ops of ``dsnn_hpo.kernels`` their implementation for CUDA tensors, once."""
    quantisers = (power_of_two_q, power_of_two_ps, power_of_two_ps_backward, fixed_point)
    for op in (*quantisers, linear_int8, linear_packed, adder_conv2d, adder_conv2d_grad_input):
        LIBRARY.impl(op.__name__, op, "CUDA")
