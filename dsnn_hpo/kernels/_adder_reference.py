"""The definition of the adder operator and of its gradients in plain torch, a bounded number of differences at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from dsnn_hpo.kernels.conv2d import Geometry

# Differences that are held at a time: 32 MiB of float64.
_N_HELD = 2**22


def forward(x: Tensor, weight: Tensor, geometry: Geometry, groups: int, exponent: float) -> Tensor:
    """Returns ``-sum |x - w|**exponent``, shape (n, m, height', width')."""
    size = _output_size(x, weight, geometry)
    rows = _rows(weight, groups)
    n_images, n_rows = _chunk_sizes(weight, groups, size)
    parts = []
    for images in torch.split(x, n_images):
        columns = _columns(images, weight, geometry, groups)
        sums = [-_power(columns - part[:, :, :, None], exponent).sum(3) for part in torch.split(rows, n_rows, 1)]
        parts.append(torch.cat(sums, 2).view(len(images), -1, *size))
    return torch.cat(parts)


def grad_input(grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, groups: int, exponent: float) -> Tensor:
    """Returns dL/dx by the rule of ``adder_conv2d``, shape (n, c, height, width)."""
    rows = _rows(weight, groups)
    _, n_rows = _chunk_sizes(weight, groups, _output_size(x, weight, geometry))
    parts = []
    for images, upstream in _image_chunks(grad, x, weight, geometry, groups):
        columns = _columns(images, weight, geometry, groups)
        total = torch.zeros_like(columns[:, :, 0])
        for part, scale in zip(torch.split(rows, n_rows, 1), torch.split(upstream, n_rows, 2), strict=True):
            slope = _slope(part[:, :, :, None] - columns, exponent)
            total += ((slope.clamp(-1, 1) if exponent == 1 else slope) * scale).sum(2)
        parts.append(_fold(total.flatten(1, 2), x, weight, geometry))
    return torch.cat(parts)


def grad_weight(grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, groups: int, exponent: float) -> Tensor:
    """Returns dL/dw by the rule of ``adder_conv2d``, shape (m, c // groups, kh, kw)."""
    rows = _rows(weight, groups)
    _, n_rows = _chunk_sizes(weight, groups, _output_size(x, weight, geometry))
    total = torch.zeros_like(rows)
    for images, upstream in _image_chunks(grad, x, weight, geometry, groups):
        columns = _columns(images, weight, geometry, groups)
        for part, scale, result in zip(
            torch.split(rows, n_rows, 1), torch.split(upstream, n_rows, 2), torch.split(total, n_rows, 1), strict=True
        ):
            result += (_slope(columns - part[:, :, :, None], exponent) * scale).sum((0, 4))
    return total.flatten(0, 1).view(weight.shape)


def _rows(weight: Tensor, groups: int) -> Tensor:
    """Returns the weight as rows of columns, shape (groups, rows of a group, columns)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def _power(difference: Tensor, exponent: float) -> Tensor:
    magnitude = difference.abs()
    return magnitude if exponent == 1 else magnitude**exponent


def _slope(difference: Tensor, exponent: float) -> Tensor:
    """Returns ``p |d|**(p - 1) sgn(d)``, and the difference itself for p = 1, where AdderNet takes that instead."""
    if exponent == 1:
        return difference
    return exponent * difference.abs() ** (exponent - 1) * difference.sgn()


def _columns(x: Tensor, weight: Tensor, geometry: Geometry, groups: int) -> Tensor:
    """Returns what each output pixel sees, shape (n, groups, 1, columns of a weight's row, pixels)."""
    columns = F.unfold(x, weight.shape[2:], geometry.dilation, geometry.padding, geometry.stride)
    return columns.view(len(x), groups, 1, -1, columns.shape[2])


def _fold(columns: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    return F.fold(columns, x.shape[2:], weight.shape[2:], geometry.dilation, geometry.padding, geometry.stride)


def _output_size(x: Tensor, weight: Tensor, geometry: Geometry) -> tuple[int, int]:
    return geometry.output_size((x.shape[2], x.shape[3]), (weight.shape[2], weight.shape[3]))


def _chunk_sizes(weight: Tensor, groups: int, size: tuple[int, int]) -> tuple[int, int]:
    """Returns how many images, and how many rows of each group, are taken at a time."""
    a_row = groups * weight[0].numel() * size[0] * size[1]
    n_rows = max(1, min(_N_HELD // a_row, weight.shape[0] // groups))
    return max(1, _N_HELD // (a_row * n_rows)), n_rows


def _image_chunks(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, groups: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields images and the output's gradient for them, shape (n, groups, rows of a group, 1, pixels)."""
    n_images, _ = _chunk_sizes(weight, groups, _output_size(x, weight, geometry))
    for images, upstream in zip(torch.split(x, n_images), torch.split(grad, n_images), strict=True):
        yield images, upstream.reshape(len(images), groups, -1, 1, upstream[0, 0].numel())
