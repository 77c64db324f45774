"""Adder layers on a GPU: the forward pass and the input gradient, in any layout of the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from dsnn_hpo.kernels.conv2d import Geometry
from dsnn_hpo.kernels.triton import _adder_kernels as kernels

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_BLOCK_P = 64
_MAX_CHANNELS = 64


@dataclass(frozen=True, slots=True)
class AdderShape:
    """An adder convolution but for its tensors: geometry, groups and exponent."""

    geometry: Geometry
    groups: int
    exponent: float


def is_supported(*tensors: Tensor) -> bool:
    """Returns whether the kernels take these tensors: float32, float16 or bfloat16."""
    return all(x.dtype in _DTYPES for x in tensors)


def adder_conv2d(x: Tensor, weight: Tensor, shape: AdderShape, y: Tensor) -> Tensor:
    """Returns ``y``, filled with the output of ``kernels.adder_conv2d``, summed in float32; y has its shape."""
    n_rows, n_channels = weight.shape[0] // shape.groups, weight.shape[1]
    # (group, row, channel, tap) to (group, tap, channel, row): neighbouring rows are read together.
    filters = weight.reshape(shape.groups, n_rows, n_channels, -1).permute(0, 3, 2, 1).contiguous()
    n_pixels, block = y.shape[0] * y.shape[2] * y.shape[3], _block(n_rows)
    kernels.adder_forward_kernel[_grid(n_pixels, n_rows, shape.groups)](
        x, filters, y,
        n_pixels, x.shape[2], x.shape[3], n_channels, y.shape[2], y.shape[3], n_rows,
        *x.stride(), *y.stride(), *_options(shape), *weight.shape[2:], shape.exponent != 1, _BLOCK_P, block,
    )  # fmt: skip
    return y


def adder_conv2d_grad_input(grad: Tensor, x: Tensor, weight: Tensor, shape: AdderShape) -> Tensor:
    """Returns the input gradient of ``kernels.adder_conv2d``, in the shape and the layout of x."""
    n_rows, n_channels = weight.shape[0] // shape.groups, weight.shape[1]
    filters = weight.reshape(shape.groups, n_rows, n_channels, -1).permute(0, 3, 1, 2).contiguous()
    result, n_pixels = torch.empty_like(x), x.shape[0] * x.shape[2] * x.shape[3]
    kernels.adder_grad_input_kernel[_grid(n_pixels, n_channels, shape.groups)](
        grad, x, filters, result,
        n_pixels, x.shape[2], x.shape[3], n_channels, grad.shape[2], grad.shape[3], n_rows,
        *x.stride(), *grad.stride(), *_options(shape), *weight.shape[2:], shape.exponent != 1,
        _BLOCK_P, _block(n_channels),
    )  # fmt: skip
    return result


def _options(shape: AdderShape) -> tuple[Any, ...]:
    geometry = shape.geometry
    return *geometry.stride, *geometry.padding, *geometry.dilation, float(shape.exponent)


def _block(n_channels: int) -> int:
    return min(_MAX_CHANNELS, max(16, int(triton.next_power_of_2(n_channels))))


def _grid(n_pixels: int, n_channels: int, groups: int) -> tuple[int, int, int]:
    return triton.cdiv(n_pixels, _BLOCK_P), triton.cdiv(n_channels, _block(n_channels)), groups
