"""The operations that modules and functions of torch mean: weights in float64, windows of pooling, normalisation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dsnn_hpo.executor._graph import (
    Affine,
    Grid,
    Kind,
    MaxWindows,
    MeanWindows,
    Move,
    Shape,
    SpatialMove,
    Weighted,
    Windows,
)
from dsnn_hpo.kernels import fixed_point_range
from dsnn_hpo.operators import (
    AdderConv2d,
    AdderLayer,
    AdderLinear,
    MinConv2d,
    MinLayer,
    MinLinear,
    ShiftConv2d,
    ShiftLayer,
    ShiftLinear,
    SpatialShift2d,
    WinogradAdderConv2d,
)

LINEAR_LAYERS = (nn.Linear, ShiftLinear, AdderLinear, MinLinear)
CONVOLUTIONS = (nn.Conv2d, ShiftConv2d, AdderConv2d, WinogradAdderConv2d, MinConv2d)


class UnsupportedError(Exception):
    """What a layer has that the executor has not; becomes a FreezeError that says where."""


def weighted(module: nn.Module, shape: Shape) -> Weighted:
    """Returns the operation of a convolution or linear layer, float or of any operator, on an input of ``shape``."""
    p = _parameters(module)
    n_rows = len(p.weight)
    multiplier = torch.full((n_rows,), p.multiplier, dtype=torch.float64, device="cpu")
    addend = torch.zeros_like(multiplier) if p.bias is None else p.bias
    if isinstance(module, LINEAR_LAYERS):
        # Its columns are channel, row, column of the input before it was flattened: a kernel as large as the input.
        kernel = p.weight.view(n_rows, *shape)
        return Weighted(kernel, multiplier, addend, (1, 1), (0, 0, 0, 0), (1, 1), 1, p.kind, p.grid)
    assert isinstance(module, CONVOLUTIONS)
    if module.padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode is {module.padding_mode!r}, only 'zeros'")
    stride, dilation = _pair(module.stride), _pair(module.dilation)
    padding = _padding(module.padding, _pair(module.kernel_size), dilation)
    return Weighted(p.weight, multiplier, addend, stride, padding, dilation, module.groups, p.kind, p.grid)


def spatial_move(module: SpatialShift2d, shape: Shape) -> SpatialMove:
    """Returns the operation of a spatial shift: groups of channels by directions, and the channels left over."""
    n_channels, _, _ = shape
    size, reach = n_channels // module.kernel_size**2, module.kernel_size // 2
    directions = [
        (y * module.dilation, x * module.dilation)
        for y, x in itertools.product(range(-reach, reach + 1), range(-reach, reach + 1))
    ]
    moves = [(size, down, right) for down, right in directions if size]
    rest = n_channels - len(moves) * size
    return SpatialMove((*moves, (rest, 0, 0)) if rest else tuple(moves))


def normalisation(module: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape) -> Affine:
    """Returns the operation of a batch normalisation in eval mode."""
    if module.running_mean is None or module.running_var is None:
        raise UnsupportedError("it keeps no running statistics, so its values depend on the batch")
    if module.num_features != shape[0]:
        raise UnsupportedError(f"it has {module.num_features} features on samples of shape {shape}")
    multiplier = torch.rsqrt(_double(module.running_var) + module.eps)
    if module.weight is not None:
        multiplier = multiplier * _double(module.weight)
    addend = -_double(module.running_mean) * multiplier
    if module.bias is not None:
        addend = addend + _double(module.bias)
    return Affine(multiplier, addend)


def clamp(shape: Shape, lowest: float, highest: float) -> Affine:
    """Returns the operation that limits values."""
    ones = torch.ones(shape[0], dtype=torch.float64, device="cpu")
    return Affine(ones, torch.zeros_like(ones), lowest, highest)


def max_pool(
    before: Shape,
    after: Shape,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,  # noqa: ARG001 - the size of the result tells
    return_indices: bool,
) -> MaxWindows:
    """Returns the operation of a max pooling from one shape to another."""
    if _pair(dilation) != (1, 1):
        raise UnsupportedError(f"dilation is {dilation}, only 1")
    if return_indices:
        raise UnsupportedError("it returns indices")
    rows, columns = (
        [(max(first, 0), min(end, before[1 + axis])) for first, end in spans]
        for axis, spans in enumerate(_spans(after, kernel_size, stride, padding))
    )
    return MaxWindows(tuple(rows), tuple(columns))


def mean_pool(
    before: Shape,
    after: Shape,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,  # noqa: ARG001 - the size of the result tells
    count_include_pad: bool,
    divisor_override: int | None,
) -> MeanWindows:
    """Returns the operation of an average pooling from one shape to another."""
    windows, counts = [], []
    for axis, spans in enumerate(_spans(after, kernel_size, stride, padding)):
        size, pad = before[1 + axis], _pair(padding)[axis]
        inside = [(max(first, 0), min(end, size)) for first, end in spans]
        counted = [(first, min(end, size + pad)) for first, end in spans] if count_include_pad else inside
        windows.append(tuple(inside))
        counts.append(_lengths(counted))
    divisor = torch.outer(counts[0], counts[1])
    if divisor_override is not None:
        divisor = torch.full_like(divisor, float(divisor_override))
    return MeanWindows(windows[0], windows[1], divisor)


def adaptive_mean(before: Shape, after: Shape) -> MeanWindows:
    """Returns the operation of an adaptive average pooling from one shape to another."""
    rows, columns = _adaptive(before[1], after[1]), _adaptive(before[2], after[2])
    return MeanWindows(rows, columns, torch.outer(_lengths(rows), _lengths(columns)))


def adaptive_max(before: Shape, after: Shape, output_size: Any, return_indices: bool) -> MaxWindows:  # noqa: ARG001
    """Returns the operation of an adaptive max pooling from one shape to another."""
    if return_indices:
        raise UnsupportedError("it returns indices")
    return MaxWindows(_adaptive(before[1], after[1]), _adaptive(before[2], after[2]))


def sliced(shape: Shape, index: Any) -> Move:
    """Returns the operation ``x[index]`` of slices over batch, channels, rows and columns."""
    slices = list(index) if isinstance(index, tuple) else [index]
    if len(slices) > 4 or not all(isinstance(part, slice) for part in slices) or slices[0] != slice(None):
        raise UnsupportedError(f"only slices that keep the batch whole, not {index!r}")
    spans = [
        range(*part.indices(size))
        for part, size in zip([*slices[1:], *[slice(None)] * (4 - len(slices))], shape, strict=True)
    ]
    if spans[0].step != 1 or not all(len(span) for span in spans):
        raise UnsupportedError("channels must be taken without a stride, and something must be left")
    first = (spans[0].start, spans[1].start, spans[2].start)
    return Move(first, (0, 0, 0), (len(spans[0]), len(spans[1]), len(spans[2])), (spans[1].step, spans[2].step))


def padded(shape: Shape, padding: tuple[int, ...]) -> Move:
    """Returns the operation of padding with zeros; ``padding`` as torch's, last axis first; negative cuts."""
    pairs = [tuple(padding[i : i + 2]) for i in range(0, len(padding), 2)]
    if len(pairs) > 3 or len(padding) % 2:
        raise UnsupportedError(f"padding {padding} of more than channels, rows and columns")
    by_axis = [*reversed(pairs), *()]
    by_axis = [(0, 0)] * (3 - len(by_axis)) + by_axis
    source, target, size = [], [], []
    for (before, after), length in zip(by_axis, shape, strict=True):
        source.append(max(-before, 0))
        target.append(max(before, 0))
        size.append(length - max(-before, 0) - max(-after, 0))
    return Move((source[0], source[1], source[2]), (target[0], target[1], target[2]), (size[0], size[1], size[2]))


@dataclass(frozen=True, slots=True, eq=False)
class _Parameters:
    """What a layer computes with, float64; ``multiplier`` is of its sums, ``grid`` the format of a shift layer's input."""

    weight: Tensor
    bias: Tensor | None
    kind: Kind
    multiplier: float = 1.0
    grid: Grid | None = None


def _parameters(module: Any) -> _Parameters:
    if isinstance(module, ShiftLayer):
        return _shift_parameters(module)
    weight, bias = _double(module.weight), None if module.bias is None else _double(module.bias)
    if isinstance(module, AdderLayer):
        if module.current_exponent() != 1.0:
            raise UnsupportedError(
                f"it sums |x - w|**{module.current_exponent():g} yet; only the exponent 1, at which annealing ends"
            )
        return _Parameters(weight, bias, "winograd" if isinstance(module, WinogradAdderConv2d) else "distance")
    if isinstance(module, MinLayer):
        # min(|s x|, |w|) = s min(|x|, |w / s|), and s is a power of two.
        scale = module.input_scale().item()
        return _Parameters(weight / scale, bias, "minimum", scale)
    return _Parameters(weight, bias, "dense")


def _shift_parameters(module: ShiftLayer) -> _Parameters:
    with torch.no_grad():
        weight, bias = module.quantized_weight(), module.quantized_bias()
    config = module.config
    bits = (int(config.activation_integer_bits), int(config.activation_fraction_bits))
    lowest, highest = fixed_point_range(*bits, torch.float32)
    grid = Grid(2.0 ** -bits[1], lowest, highest, config.activation_rounding)
    return _Parameters(_double(weight), None if bias is None else _double(bias), "shift", grid=grid)


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[-1])) if isinstance(value, list | tuple) else (int(value), int(value))


def _padding(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    if padding == "valid":
        return (0, 0, 0, 0)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
    vertical, horizontal = _pair(padding)
    return (vertical, horizontal, vertical, horizontal)


def _spans(after: Shape, kernel_size: Any, stride: Any, padding: Any) -> list[list[tuple[int, int]]]:
    """Returns where the windows of rows and of columns begin and end, padding included."""
    kernel, pad = _pair(kernel_size), _pair(padding)
    step = _pair(stride) if stride not in (None, [], ()) else kernel
    return [
        [(i * step[axis] - pad[axis], i * step[axis] - pad[axis] + kernel[axis]) for i in range(after[1 + axis])]
        for axis in (0, 1)
    ]


def _adaptive(size: int, n_out: int) -> Windows:
    return tuple((i * size // n_out, math.ceil((i + 1) * size / n_out)) for i in range(n_out))


def _lengths(windows: Any) -> Tensor:
    return torch.tensor([end - first for first, end in windows], dtype=torch.float64, device="cpu")
