"""The integer sums of a plan's convolutions in plain torch, exact in any order of summation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dsnn_hpo.kernels.packed_weight import PLANE_EXPONENTS, PackedWeight
from dsnn_hpo.kernels.plan_weight import AdderWeight, DenseWeight, Weight, WinogradWeight
from dsnn_hpo.kernels.winograd import INPUT_TRANSFORM

MAX_MAGNITUDE = 255
EXACT_IN_SINGLE = 2**24


def convolved_sums(x: Tensor, weight: Weight, stride: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """Returns the sums of a convolution without padding, int64 (n, rows, h, w), of x, float32 integers ``q - z``."""
    if isinstance(weight, AdderWeight):
        return _adder_sums(x, weight, stride, dilation)
    if isinstance(weight, WinogradWeight):
        return _winograd_sums(x, weight)
    return _product_sums(x, weight, stride, dilation)


def _product_sums(
    x: Tensor, weight: PackedWeight | DenseWeight, stride: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """Returns sums of products.

    They are taken by convolutions in floating point, one for each int8 plane of the weight: float32 where all
    magnitudes of a row together, times the largest activation, stay below 2**24, else float64, since
    255 * 127 * 2**17 < 2**53. Planes are put together in int64.
    """
    rest = weight.integers()
    total, worth = torch.zeros((), dtype=torch.int64, device="cpu"), 1
    while True:
        # Powers of two from 2**7 on go to the next plane; int8 values below stay.
        is_low = rest.abs() < 2**PLANE_EXPONENTS
        plane = torch.where(is_low, rest, 0)
        largest = plane.abs().flatten(1).sum(1).max().item() * MAX_MAGNITUDE
        dtype = _exact_dtype(largest)
        # NNPACK is left out: it may multiply in a transformed domain, where sums are not exact.
        with torch.backends.nnpack.flags(enabled=False):
            sums = functional.conv2d(x.to(dtype), plane.to(dtype), None, stride, 0, dilation, weight.groups)
        total = total + sums.long() * worth
        if is_low.all():
            return total
        rest = torch.where(is_low, 0, rest) >> PLANE_EXPONENTS
        worth <<= PLANE_EXPONENTS


def _adder_sums(x: Tensor, weight: AdderWeight, stride: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    values, groups = weight.values.int(), weight.groups
    largest = (values.abs().flatten(1) + MAX_MAGNITUDE).sum(1).max().item()
    dtype = _exact_dtype(largest)
    rows = values.view(groups, len(values) // groups, -1).to(dtype)
    kernel = weight.shape[2:]
    height, width = (
        (size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    )
    sums = torch.empty((len(x), len(values), height, width), dtype=torch.int64, device=x.device)
    for image, result in zip(x, sums, strict=True):
        columns = functional.unfold(image[None].to(dtype), kernel, dilation, 0, stride)
        pixels = columns.view(groups, -1, height * width).transpose(1, 2)
        distances = -torch.cdist(pixels, rows, p=1.0)
        if weight.operation == "minimum":
            distances += torch.cdist(pixels, -rows, p=1.0)
        result.copy_(distances.transpose(1, 2).reshape(result.shape))
    return sums


def _winograd_sums(x: Tensor, weight: WinogradWeight) -> Tensor:
    groups, n_channels = weight.groups, weight.values.shape[1]
    height, width = x.shape[2] - 2, x.shape[3] - 2
    tiles = functional.pad(x.double(), (0, width % 2, 0, height % 2)).unfold(2, 4, 2).unfold(3, 4, 2)
    into = torch.tensor(INPUT_TRANSFORM, dtype=torch.float64, device=x.device)
    out = torch.tensor(weight.output_transform, dtype=torch.float64, device=x.device)
    rows = weight.values.double().view(groups, -1, n_channels, 16).permute(3, 0, 1, 2)
    sums = torch.empty((len(x), len(weight.values), height, width), dtype=torch.int64, device=x.device)
    for image, result in zip(into @ tiles @ into.T, sums, strict=True):
        n_rows, n_columns = image.shape[1:3]
        places = image.view(groups, n_channels, n_rows * n_columns, 16).permute(3, 0, 2, 1)
        distances = -torch.cdist(places, rows, p=1.0)
        outputs = torch.einsum("pi,qj,ijgtn->gntpq", out, out, distances.view(4, 4, *distances.shape[1:]))
        whole = outputs.reshape(-1, n_rows, n_columns, 2, 2).permute(0, 1, 3, 2, 4).flatten(1, 2).flatten(2)
        result.copy_(whole[:, :height, :width])
    return sums


def _exact_dtype(largest: float) -> torch.dtype:
    return torch.float32 if largest < EXACT_IN_SINGLE else torch.float64
