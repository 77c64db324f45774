"""Convolutions of 8-bit activations and packed weights, in integers.

The sums of products are exact integers; the few roundings after them are each a float32 operation of its own, so that
every processor gives the same bits.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dsnn_hpo.kernels import _library
from dsnn_hpo.kernels._ops import LIBRARY, is_direct, pointer, require, require_memory, require_together
from dsnn_hpo.kernels.linear import WeightStructure, weight_structure
from dsnn_hpo.kernels.packed_weight import Facts, PackedWeight, scales_of

_EXACT_IN_DOUBLE = 2**53
_LARGEST_STEP = 2**15


@dataclass(frozen=True, slots=True)
class Geometry:
    """Stride, padding and dilation of a convolution, (height, width) each."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        """Raises ValueError for values that no convolution has."""
        for name, lowest in (("stride", 1), ("padding", 0), ("dilation", 1)):
            value = getattr(self, name)
            if len(value) != 2 or min(value) < lowest or max(value) > _LARGEST_STEP:
                raise ValueError(f"{name} must be two numbers from {lowest} to {_LARGEST_STEP}, not {value!r}")

    def output_size(self, size: tuple[int, int], kernel_size: tuple[int, int]) -> tuple[int, int]:
        """Returns height and width of the output; raises ValueError where the kernel does not fit the input."""
        height, width = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(size, kernel_size, self.stride, self.padding, self.dilation, strict=True)
        )
        if height < 1 or width < 1:
            raise ValueError(f"an input of {size} pixels is too small for a kernel of {kernel_size} with {self}")
        return height, width


@dataclass(frozen=True, slots=True)
class Output8Bit:
    """What 8-bit results mean and where they end: ``zero_point`` stands for 0; ``lowest`` to ``highest`` are kept.

    A rectifier is ``lowest = zero_point``.
    """

    zero_point: int = 0
    lowest: int = 0
    highest: int = 255

    def __post_init__(self) -> None:
        """Raises ValueError unless 0 <= lowest <= highest <= 255 and the zero point is 0 to 255."""
        if not (0 <= self.lowest <= self.highest <= 255 and 0 <= self.zero_point <= 255):
            raise ValueError(f"an 8-bit output needs 0 <= lowest <= highest <= 255 and a zero point among them: {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Residual:
    """A tensor to be added before the results are limited: ``scale * (values - zero_point)``.

    ``values`` is uint8 and has the output's shape; ``scale`` is in units of the output.
    """

    values: Tensor
    scale: float
    zero_point: int = 0


def conv2d_u8(
    x: Tensor,
    weight: PackedWeight,
    affine: tuple[Tensor, Tensor],
    geometry: Geometry | None = None,
    *,
    zero_point: int = 0,
    output: Output8Bit | None = None,
    residual: Residual | None = None,
) -> Tensor:
    """Returns a convolution's output, NHWC: uint8 with ``output``, else float32.

    With the integers w of the weight and the pixels q outside the image equal to the zero point::

        y = float32(sum (q - zero_point) * w) * scale + bias + float32(residual - its zero point) * its scale
        output = round_half_to_even(min(max(y, lowest - zero), highest - zero)) + zero

    Args:
        x: uint8, contiguous, shape (n, height, width, c); its values are ``q - zero_point`` in some unit.
        weight: packed from shape (n_rows, c // groups, kh, kw).
        affine: scale and bias, float32, shape (n_rows,). The scale holds the weight's own ``2**exponents``, the unit of
            the input and one over the unit of the output; the bias is in units of the output.
        geometry: stride, padding and dilation; None for the simplest.
        zero_point: of x, 0 to 255.
        output: the 8-bit format of the output; None for float32.
        residual: added to the output.

    Raises:
        TypeError: a dtype is wrong.
        ValueError: a shape, device, memory layout or zero point is wrong, or the kernel does not fit the image.
    """
    require_together(x, weight.codes)
    if x.device.type == "cuda":
        raise ValueError("conv2d_u8 has no kernel for a GPU: move x and the weight to the CPU")
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in affine):
        raise ValueError("conv2d_u8 has no gradient, and its scale or bias asks for one: detach them")
    geometry = geometry or Geometry()
    if is_direct(x):
        return _conv2d_u8_cpu(x, weight, affine, geometry, zero_point, output, residual)
    limits = output or Output8Bit()
    values, residual_scale, residual_zero = (
        (None, 0.0, 0) if residual is None else (residual.values, residual.scale, residual.zero_point)
    )
    return torch.ops.dsnn_hpo.conv2d_u8(  # type: ignore[no-any-return]
        x,
        weight.codes,
        weight.exponents,
        weight.n_planes,
        weight.row_sums,
        list(weight.shape),
        weight.bits,
        weight.has_zero,
        weight.groups,
        *affine,
        [*geometry.stride, *geometry.padding, *geometry.dilation],
        [zero_point, limits.zero_point, limits.lowest, limits.highest],
        values,
        residual_scale,
        residual_zero,
        output is None,
    )


def integer_conv2d(x: Tensor, integers: Tensor, geometry: Geometry, groups: int, zero_point: int) -> Tensor:
    """Returns the exact sums of a convolution, int64, shape (n, height', width', n_rows).

    x is uint8 of shape (n, height, width, c), ``integers`` int64 of shape (n_rows, c // groups, kh, kw). Float64 does
    the sums where none can pass 2**53, int64 otherwise; both are exact.
    """
    n_rows, per_group, *kernel = integers.shape
    largest = 255 * int(integers.abs().flatten(1).sum(1).max()) if integers.numel() else 0
    dtype = torch.float64 if largest < _EXACT_IN_DOUBLE else torch.int64
    (top, left), (down, across) = geometry.padding, geometry.dilation
    centred = x.to(dtype) - zero_point
    padded = F.pad(centred, (0, 0, left, left, top, top))
    height, width = geometry.output_size((x.shape[1], x.shape[2]), (kernel[0], kernel[1]))
    total = x.new_zeros(x.shape[0] * height * width, n_rows, dtype=dtype)
    weights = integers.to(dtype).view(groups, n_rows // groups, per_group, *kernel)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i * down, i * down + (height - 1) * geometry.stride[0] + 1, geometry.stride[0])
            columns = slice(j * across, j * across + (width - 1) * geometry.stride[1] + 1, geometry.stride[1])
            tap = padded[:, rows, columns].reshape(-1, groups, per_group).transpose(0, 1)
            total += (tap @ weights[..., i, j].transpose(1, 2)).transpose(0, 1).flatten(1)
    return total.to(torch.int64).view(x.shape[0], height, width, n_rows)


def conv2d_u8_reference(
    x: Tensor,
    integers: Tensor,
    affine: tuple[Tensor, Tensor],
    geometry: Geometry,
    *,
    groups: int = 1,
    zero_point: int = 0,
    output: Output8Bit | None = None,
    residual: Residual | None = None,
) -> Tensor:
    """Returns ``conv2d_u8`` in plain torch, for any int64 weight of shape (n_rows, c // groups, kh, kw)."""
    scale, bias = affine
    y = integer_conv2d(x, integers, geometry, groups, zero_point).to(torch.float32) * scale + bias
    if residual is not None:
        centred = residual.values.to(torch.int32) - residual.zero_point
        y = y + centred.to(torch.float32) * y.new_tensor(residual.scale)
    return y if output is None else to_8_bits(y, output)


def to_8_bits(y: Tensor, output: Output8Bit) -> Tensor:
    """Returns ``round(min(max(y, lowest - zero), highest - zero)) + zero``, halves to even, as uint8."""
    limited = y.clamp(output.lowest - output.zero_point, output.highest - output.zero_point)
    return (limited.round() + output.zero_point).to(torch.uint8)


LIBRARY.define(
    "conv2d_u8(Tensor x, Tensor codes, Tensor exponents, Tensor n_planes, Tensor row_sums, int[] shape, int bits, "
    "bool has_zero, int groups, Tensor scale, Tensor bias, int[] geometry, int[] zero_points, Tensor? residual, "
    "float residual_scale, int residual_zero, bool to_float) -> Tensor"
)


class _Conv2d(ctypes.Structure):
    _fields_ = [
        *[(n, ctypes.c_void_p) for n in ("input", "output", "residual", "scale", "bias", "correction")],
        ("weight", WeightStructure),
        *[(n, ctypes.c_int32) for n in ("n_images", "in_h", "in_w", "in_channels", "out_h", "out_w", "out_channels")],
        *[(n, ctypes.c_int32) for n in ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")],
        *[(n, ctypes.c_int32) for n in ("pad_top", "pad_left", "pad_bottom", "pad_right", "groups", "depthwise")],
        *[(n, ctypes.c_int32) for n in ("input_zero", "output_zero", "residual_zero", "to_float")],
        *[(n, ctypes.c_float) for n in ("low", "high", "residual_scale")],
    ]


def _conv2d_u8_cpu(
    x: Tensor,
    weight: PackedWeight,
    affine: tuple[Tensor, Tensor],
    geometry: Geometry,
    zero_point: int,
    output: Output8Bit | None,
    residual: Residual | None,
) -> Tensor:
    size = _checked(x, weight, affine, geometry, residual, zero_point)
    loaded = _library.compiled_library()
    if loaded is None:
        options: Any = {"groups": weight.groups, "zero_point": zero_point, "output": output, "residual": residual}
        return conv2d_u8_reference(x, weight.integers(), affine, geometry, **options)
    y = x.new_empty(size, dtype=torch.float32 if output is None else torch.uint8)
    if not y.numel():
        return y
    correction = weight.row_sums * zero_point if zero_point else None
    limits = output or Output8Bit()
    arguments = _Conv2d(
        x.data_ptr(), y.data_ptr(), residual and residual.values.data_ptr(), affine[0].data_ptr(), affine[1].data_ptr(),
        pointer(correction), weight_structure(weight), *x.shape, *size[1:], *weight.shape[2:],
        *geometry.stride, *geometry.dilation, *geometry.padding, *geometry.padding,
        weight.groups, weight.layout.is_depthwise,
        zero_point, limits.zero_point, 0 if residual is None else residual.zero_point, output is None,
        limits.lowest - limits.zero_point, limits.highest - limits.zero_point,
        0.0 if residual is None else residual.scale,
    )  # fmt: skip
    require_memory(loaded.dsnn_conv2d(ctypes.byref(arguments), _library.n_threads()))
    return y


def _conv2d_u8_op(x: Tensor, *arguments: Any) -> Tensor:
    codes, exponents, n_planes, row_sums, shape, bits, has_zero, groups, scale, bias, geometry, zero_points = arguments[
        :12
    ]
    values, residual_scale, residual_zero, to_float = arguments[12:]
    facts = Facts(n_planes, row_sums, scales_of(exponents))
    weight = PackedWeight(codes, exponents, tuple(shape), bits, has_zero, groups, facts)
    residual = None if values is None else Residual(values, residual_scale, residual_zero)
    zero_point, *limits = zero_points
    output = None if to_float else Output8Bit(*limits)
    return _conv2d_u8_cpu(x, weight, (scale, bias), _geometry(geometry), zero_point, output, residual)


def _geometry(values: list[int]) -> Geometry:
    top, left, *_ = values
    return Geometry((top, left), (values[2], values[3]), (values[4], values[5]))


def _checked(
    x: Tensor,
    weight: PackedWeight,
    affine: tuple[Tensor, Tensor],
    geometry: Geometry,
    residual: Residual | None,
    zero_point: int,
) -> tuple[int, int, int, int]:
    """Returns the output's shape, (n, height, width, n_rows)."""
    n_rows, per_group, *kernel = weight.shape
    if len(kernel) != 2:
        raise ValueError(f"a convolution needs a weight of four dimensions, not of shape {weight.shape}")
    require(x, "x", dtype=torch.uint8, shape=(None, None, None, per_group * weight.groups))
    if not 0 <= zero_point <= 255:
        raise ValueError(f"zero_point must be 0 to 255, not {zero_point}")
    for name, tensor in zip(("scale", "bias"), affine, strict=True):
        require(tensor, name, dtype=torch.float32, shape=(n_rows,))
    size = geometry.output_size((x.shape[1], x.shape[2]), (kernel[0], kernel[1]))
    shape = (x.shape[0], *size, n_rows)
    if residual is not None:
        require(residual.values, "residual", dtype=torch.uint8, shape=shape)
    return shape


@torch.library.register_fake("dsnn_hpo::conv2d_u8", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _conv2d_u8_fake(x: Tensor, *arguments: object) -> Tensor:
    shape, geometry, to_float = arguments[4], arguments[10], arguments[-1]
    where = _geometry(geometry)  # type: ignore[arg-type]
    size = where.output_size((x.shape[1], x.shape[2]), (shape[2], shape[3]))  # type: ignore[index]
    n_rows = shape[0]  # type: ignore[index]
    return x.new_empty((x.shape[0], *size, n_rows), dtype=torch.float32 if to_float else torch.uint8)


LIBRARY.impl("conv2d_u8", _conv2d_u8_op, "CPU")
