"""Linear layers with packed weights: on 8-bit integers, or on floats."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from dsnn_hpo.kernels import _library
from dsnn_hpo.kernels._ops import LIBRARY, pointer, require
from dsnn_hpo.kernels.conv2d import _Weight
from dsnn_hpo.kernels.packed_weight import PackedWeight

ZERO_POINT = 128
_SMALLEST_ROW = 2.0**-119


def linear_int8(x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``x @ w.T + bias`` with x rounded to 8 bits, row by row; exact integers between two roundings.

    With ``a = max|x|`` of a row (rows of a below 2**-119 count as zeros) and the weight's integers w::

        q = clamp(round_half_to_even(x * (127 / a)), -127, 127)
        y = float32(sum q * w) * 2**exponents * (a / 127) + bias

    Args:
        x: float32, contiguous, shape (..., k).
        weight: packed from shape (n, k).
        bias: float32, shape (n,), or None.

    Returns:
        float32, shape (..., n). The gradient of x is that of the float layer.

    Raises:
        TypeError: a dtype is wrong.
        ValueError: a shape, device or memory layout is wrong, or x has NaN or infinite values.
    """
    arguments = (weight.codes, weight.exponents, weight.n_planes, weight.row_sums, weight.scales, bias)
    y = torch.ops.dsnn_hpo.linear_int8(
        x.reshape(-1, x.shape[-1]), *arguments, list(weight.shape), weight.bits, weight.has_zero
    )
    return y.view(*x.shape[:-1], weight.shape[0])  # type: ignore[no-any-return]


def linear_int8_reference(x: Tensor, weight: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``linear_int8`` in plain torch, for x of shape (m, k)."""
    largest = x.abs().amax(1, keepdim=True)
    if not torch.isfinite(largest).all():
        raise ValueError("x has NaN or infinite values, which 8 bits cannot hold")
    is_zero = largest < _SMALLEST_ROW
    # A tensor of 127: torch divides a number by a tensor, or on a GPU a tensor by a number, in two roundings.
    limit = torch.full_like(largest, 127.0)
    factor = torch.where(is_zero, 0.0, limit / largest)
    row_scale = torch.where(is_zero, 0.0, largest / limit)
    q = (x * factor).round().clamp(-127.0, 127.0)
    # Sums of at most 2**17 products of 127 and 2**31 fit 64 bits; float64 is exact below 2**53.
    is_wide = int(weight.n_planes.max()) > 3
    dtype = torch.int64 if is_wide else torch.float64
    sums = q.to(dtype) @ weight.integers().to(dtype).T
    y = sums.to(torch.float32) * weight.scales * row_scale
    # Without a bias a zero is added, which turns -0 to 0.
    return y + (torch.zeros(()) if bias is None else bias)


LIBRARY.define(
    "linear_int8(Tensor x, Tensor codes, Tensor exponents, Tensor n_planes, Tensor row_sums, Tensor scales, "
    "Tensor? bias, int[] shape, int bits, bool has_zero) -> Tensor"
)


def _linear_int8_cpu(
    x: Tensor,
    codes: Tensor,
    exponents: Tensor,
    n_planes: Tensor,
    row_sums: Tensor,
    scales: Tensor,
    bias: Tensor | None,
    shape: list[int],
    bits: int,
    has_zero: bool,
) -> Tensor:
    n, k = shape
    require(x, "x", dtype=torch.float32, shape=(None, k))
    if bias is not None:
        require(bias, "bias", dtype=torch.float32, shape=(n,))
    loaded = _library.compiled_library()
    if loaded is None:
        return linear_int8_reference(x, PackedWeight(codes, exponents, (n, k), bits, has_zero), bias)
    y = torch.empty(x.shape[0], n)
    if not y.numel():
        return y
    structure = _Weight(pointer(codes), pointer(n_planes), bits, has_zero, -(-k // 4))
    if loaded.dsnn_linear_int8(
        ctypes.c_void_p(x.data_ptr()),
        ctypes.c_void_p(y.data_ptr()),
        x.shape[0],
        k,
        n,
        ctypes.byref(structure),
        ctypes.c_void_p(scales.data_ptr()),
        ctypes.c_void_p(pointer(bias)),
        ctypes.c_void_p(row_sums.data_ptr()),
        _library.n_threads(),
    ):
        raise ValueError("x has NaN or infinite values, which 8 bits cannot hold")
    return y


LIBRARY.impl("linear_int8", _linear_int8_cpu, "CPU")


@torch.library.register_fake("dsnn_hpo::linear_int8", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _linear_int8_fake(x: Tensor, *arguments: object) -> Tensor:
    return x.new_empty((x.shape[0], arguments[6][0]))  # type: ignore[index]
