"""A whole network as a list of integer steps: what they are, and what they mean in plain torch.

An activation is uint8, NHWC, with a scale s and a zero point z: its value is ``s * (q - z)``. A step computes integers,
scales them in float32, each product and each sum rounded by itself, rounds to the nearest integer (halves to even) and
adds the target's zero point. Scales are divided by the target's scale beforehand. So every implementation gives the
same bits, whatever its instructions and its number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from dsnn_hpo.kernels._plan_sums import convolved_sums
from dsnn_hpo.kernels.plan_weight import Weight, WinogradWeight

REFERENCE_CHUNK = 128
"""Images that the reference takes at a time, so that a test set does not lie in memory as float64."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A uint8 tensor between steps: its shape without the batch, and what its integers mean."""

    channels: int
    height: int
    width: int
    scale: float
    zero: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Channels ``first_channel`` to ``first_channel + n_channels - 1`` of activation number ``activation``."""

    activation: int
    first_channel: int
    n_channels: int


@dataclass(frozen=True, slots=True)
class Clamp:
    """The least and the greatest ``q - z`` that a step writes."""

    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class Residual:
    """An activation added to a result: ``+ float32(q - z) * scale``."""

    source: Slice
    scale: float


@dataclass(frozen=True, slots=True)
class Quantise:
    """``q = clamp(round(x * inverse_scale + offset)) + z``, from float32 NCHW; a flat target keeps the order of x."""

    name: str
    target: Slice
    inverse_scale: float
    offset: float
    clamp: Clamp


@dataclass(frozen=True, slots=True, eq=False)
class Convolve:
    """``clamp(round(float32(sum of (q - z) * w) * scale[n] + bias[n] + residual)) + z``; a linear layer is one, too.

    Of an ``AdderWeight`` and a ``WinogradWeight`` the sum is another; see there. A padded pixel is q = z. Without a target, the result is the network's output: ``float32(sum) * scale + bias``.
    ``padding`` is (top, left, bottom, right); ``scale`` and ``bias`` are float32 of shape (n,).
    """

    name: str
    source: Slice
    target: Slice | None
    weight: Weight
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    scale: Tensor
    bias: Tensor
    residual: Residual | None
    clamp: Clamp


@dataclass(frozen=True, slots=True, eq=False)
class Pointwise:
    """``clamp(round(float32(q - z) * scale[c] + bias[c] + residual)) + z``: sums, rescaling, lone normalisation."""

    name: str
    source: Slice
    target: Slice
    scale: Tensor
    bias: Tensor
    residual: Residual | None
    clamp: Clamp


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The greatest q of each window; ``rows`` and ``columns`` are (first, end) of the windows, padding excluded."""

    name: str
    source: Slice
    target: Slice
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class MeanPool:
    """``clamp(round(float32(sum of (q - z) in the window) * scale[y, x] + offset)) + z``.

    ``scale`` is float32 of the output's (height, width): windows at a border may have another number of pixels.
    """

    name: str
    source: Slice
    target: Slice
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]
    scale: Tensor
    offset: float
    clamp: Clamp


@dataclass(frozen=True, slots=True)
class Copy:
    """Copies a window of the source's q into a window of the target, whose other pixels and channels become z.

    Triples are (channel, row, column): ``source_first`` and ``target_first`` begin the windows of ``size`` target
    elements; ``stride`` is that of rows and columns in the source.
    """

    name: str
    source: Slice
    target: Slice
    source_first: tuple[int, int, int]
    target_first: tuple[int, int, int]
    size: tuple[int, int, int]
    stride: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ShiftChannels:
    """Copies channels from other places of the image: ``q[c, y, x] = source[c, y + down, x + right]``, z outside.

    ``moves`` are (number of channels, down, right) of the channels in their order, all of them.
    """

    name: str
    source: Slice
    target: Slice
    moves: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Dequantise:
    """The network's output from an activation: ``float32(q - z) * scale``, in the order channel, row, column."""

    name: str
    source: Slice
    scale: float


Step: TypeAlias = Quantise | Convolve | Pointwise | MaxPool | MeanPool | Copy | ShiftChannels | Dequantise


@dataclass(frozen=True, eq=False)
class Plan:
    """A network's steps in order; the last one, and only that one, writes the output.

    Attributes:
        input_shape: channels, height and width of a sample.
        n_outputs: of a sample.
        activations: what the steps' slices name.
        steps: each reads what earlier ones wrote.
    """

    input_shape: tuple[int, int, int]
    n_outputs: int
    activations: tuple[Activation, ...]
    steps: tuple[Step, ...]

    def zero(self, part: Slice) -> int:
        """Returns the zero point of a slice."""
        return self.activations[part.activation].zero

    @cached_property
    def n_weight_bytes(self) -> int:
        """Returns the bytes of all weights, packed, without scales and biases."""
        return sum(step.weight.n_bytes for step in self.steps if isinstance(step, Convolve))

    def n_macs(self, step: Step) -> int:
        """Returns the terms that a step sums for one sample, products or distances; 0 for all but convolutions."""
        if not isinstance(step, Convolve):
            return 0
        height = width = 1
        if step.target is not None:
            target = self.activations[step.target.activation]
            height, width = target.height, target.width
        if isinstance(step.weight, WinogradWeight):
            return -(-height // 2) * -(-width // 2) * step.weight.values.numel()
        return height * width * math.prod(step.weight.shape)


def check_input(plan: Plan, x: Tensor) -> None:
    """Returns nothing; raises TypeError or ValueError, saying what is wrong, unless x is an input of the plan."""
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        raise TypeError(f"x must be a float32 tensor, not {x.dtype if isinstance(x, Tensor) else type(x).__name__}")
    if x.dim() != 4 or tuple(x.shape[1:]) != plan.input_shape:
        wanted = ", ".join(map(str, plan.input_shape))
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (n, {wanted})")
    if x.layout != torch.strided or x.device.type != "cpu":
        raise ValueError(f"x must be a dense tensor on the CPU, not {x.layout} on {x.device}")


def check_finite(x: Tensor) -> None:
    """Returns nothing; raises ValueError, naming the place, where x holds NaN or infinity."""
    wrong = ~torch.isfinite(x)
    if wrong.any():
        place = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"x{list(place)} is {x[place].item()}, expected finite values")


def run_reference(plan: Plan, x: Tensor) -> Tensor:
    """Returns the network's output, float32 (n, n_outputs), for float32 x of shape (n, c, h, w), by plain torch.

    This is the definition of a plan. The sums of convolutions are exact integers.

    Raises TypeError or ValueError where x is no such tensor, or holds NaN or infinity.
    """
    check_input(plan, x)
    check_finite(x)
    output = x.new_empty((len(x), plan.n_outputs))
    for first in range(0, len(x), REFERENCE_CHUNK):
        chunk = slice(first, first + REFERENCE_CHUNK)
        output[chunk] = _run_chunk(plan, x[chunk])
    return output


def _run_chunk(plan: Plan, x: Tensor) -> Tensor:
    n = len(x)
    q = [
        torch.full((n, a.channels, a.height, a.width), a.zero, dtype=torch.uint8, device=x.device)
        for a in plan.activations
    ]
    centred = _Centred(plan, q)
    output = x.new_empty((n, plan.n_outputs))
    for step in plan.steps:
        if isinstance(step, Quantise):
            values = x * step.inverse_scale + step.offset
            shape = (n, step.target.n_channels, *q[step.target.activation].shape[2:])
            _write_(plan, q, step.target, _rounded(values, step.clamp).view(shape))
        elif isinstance(step, Convolve):
            y = _convolved(step, centred)
            if step.target is None:
                output = y.flatten(1)
            else:
                _write_(plan, q, step.target, _rounded(_with_residual(y, step.residual, centred), step.clamp))
        elif isinstance(step, Pointwise):
            y = centred(step.source).float() * _by_channel(step.scale) + _by_channel(step.bias)
            _write_(plan, q, step.target, _rounded(_with_residual(y, step.residual, centred), step.clamp))
        elif isinstance(step, MaxPool):
            pooled = _windows(step, centred(step.source), torch.amax)
            _write_(plan, q, step.target, pooled)
        elif isinstance(step, MeanPool):
            sums = _windows(step, centred(step.source), torch.sum).float()
            _write_(plan, q, step.target, _rounded(sums * step.scale + step.offset, step.clamp))
        elif isinstance(step, Copy):
            _write_(plan, q, step.target, _copied(plan, step, centred(step.source)))
        elif isinstance(step, ShiftChannels):
            _write_(plan, q, step.target, _shifted(step, centred(step.source)))
        else:
            output = (centred(step.source).float() * step.scale).flatten(1)
    return output


@dataclass(frozen=True, slots=True)
class _Centred:
    """Reads slices as ``q - z``, int64, NCHW."""

    plan: Plan
    q: list[Tensor]

    def __call__(self, part: Slice) -> Tensor:
        whole = self.q[part.activation]
        return whole[:, part.first_channel : part.first_channel + part.n_channels].long() - self.plan.zero(part)


def _write_(plan: Plan, q: list[Tensor], part: Slice, centred: Tensor) -> None:
    channels = slice(part.first_channel, part.first_channel + part.n_channels)
    q[part.activation][:, channels] = (centred + plan.zero(part)).to(torch.uint8)


def _by_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _rounded(y: Tensor, clamp: Clamp) -> Tensor:
    return torch.round(y.clamp(float(clamp.lowest), float(clamp.highest))).long()


def _with_residual(y: Tensor, residual: Residual | None, centred: _Centred) -> Tensor:
    return y if residual is None else y + centred(residual.source).float() * residual.scale


def _convolved(step: Convolve, centred: _Centred) -> Tensor:
    top, left, bottom, right = step.padding
    x = functional.pad(centred(step.source).float(), (left, right, top, bottom))
    total = convolved_sums(x, step.weight, step.stride, step.dilation)
    return total.float() * _by_channel(step.scale) + _by_channel(step.bias)


def _windows(step: MaxPool | MeanPool, x: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
    by_row = torch.stack([reduce(x[:, :, first:end], dim=2) for first, end in step.rows], dim=2)
    return torch.stack([reduce(by_row[..., first:end], dim=3) for first, end in step.columns], dim=3)


def _copied(plan: Plan, step: Copy, x: Tensor) -> Tensor:
    target = plan.activations[step.target.activation]
    result = x.new_zeros((len(x), step.target.n_channels, target.height, target.width))
    (c, row, column), (n_c, n_rows, n_columns) = step.source_first, step.size
    by_y, by_x = step.stride
    window = x[:, c : c + n_c, row : row + by_y * n_rows : by_y, column : column + by_x * n_columns : by_x]
    c, row, column = step.target_first
    result[:, c : c + n_c, row : row + n_rows, column : column + n_columns] = window
    return result


def _shifted(step: ShiftChannels, x: Tensor) -> Tensor:
    parts = torch.split(x, [n_channels for n_channels, _, _ in step.moves], 1)
    height, width = x.shape[2:]
    moved = []
    for part, (_, down, right) in zip(parts, step.moves, strict=True):
        y, column = max(min(down, height), -height), max(min(right, width), -width)
        # Negative padding cuts.
        moved.append(functional.pad(part, (-column, column, -y, y)))
    return torch.cat(moved, 1)
