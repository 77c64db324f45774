"""The structures of ``csrc/dsnn_kernels.h`` that describe a plan, filled from one."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dsnn_hpo.kernels._arena import Arena
from dsnn_hpo.kernels.linear import WeightStructure
from dsnn_hpo.kernels.packed_weight import BLOCK_ROWS, QUAD, Layout, PackedWeight
from dsnn_hpo.kernels.plan import (
    Clamp,
    Convolve,
    Copy,
    Dequantise,
    MaxPool,
    MeanPool,
    Plan,
    Pointwise,
    Quantise,
    Residual,
    ShiftChannels,
    Slice,
    Step,
)
from dsnn_hpo.kernels.plan_weight import AdderWeight, WinogradWeight
from dsnn_hpo.kernels.winograd import INPUT_TRANSFORM

QUANTISE, CONVOLVE, POINTWISE, POOL, COPY, SHIFT_CHANNELS, DEQUANTISE = range(7)
PRODUCT, DISTANCE, MINIMUM, WINOGRAD = range(4)


class DsnnActivation(ctypes.Structure):
    """An activation in the arena."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("offset", "image")),
        *((name, ctypes.c_int32) for name in ("height", "width", "channels", "pixel")),
        *((name, ctypes.c_int32) for name in ("top", "left", "bottom", "right", "zero")),
    )


class DsnnSlice(ctypes.Structure):
    """Channels of an activation."""

    _fields_ = tuple((name, ctypes.c_int32) for name in ("activation", "first_channel", "n_channels"))


class DsnnStep(ctypes.Structure):
    """A step of any kind."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("prepares", ctypes.c_int32),
        *((name, DsnnSlice) for name in ("source", "target", "residual")),
        *((name, ctypes.c_float) for name in ("low", "high", "factor", "offset", "residual_scale")),
        ("is_flat", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ("scale", "bias", "correction", "rows", "columns")),
        *((name, ctypes.c_void_p) for name in ("moves", "output_transform")),
        ("weight", WeightStructure),
        *((name, ctypes.c_int32) for name in ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h")),
        *((name, ctypes.c_int32) for name in ("dilation_w", "pad_top", "pad_left", "groups", "depthwise")),
        *((name, ctypes.c_int32 * 3) for name in ("source_first", "target_first", "size")),
        ("n_moves", ctypes.c_int32),
    )


class DsnnPlanSize(ctypes.Structure):
    """Sizes of one image."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("n_inputs", "n_outputs", "image_bytes", "image_products"))


class Records:
    """A plan's activations and steps as C arrays, and the tensors that they point into."""

    def __init__(self, plan: Plan, arena: Arena) -> None:
        self._plan = plan
        self._tensors: list[Tensor] = []
        self.activations = (DsnnActivation * len(plan.activations))(
            *(
                DsnnActivation(
                    placed.offset,
                    placed.image_bytes,
                    activation.height,
                    activation.width,
                    activation.channels,
                    placed.pixel_bytes,
                    *placed.padding,
                    activation.zero,
                )
                for activation, placed in zip(plan.activations, arena.activations, strict=True)
            )
        )
        self.steps = (DsnnStep * len(plan.steps))(*(self._step(step) for step in plan.steps))
        for index, placed in enumerate(arena.activations):
            self.steps[placed.first_writer].prepares = index
        channels, height, width = plan.input_shape
        n_products = sum(plan.n_macs(step) for step in plan.steps)
        self.size = DsnnPlanSize(channels * height * width, plan.n_outputs, arena.n_bytes, n_products)

    def _step(self, step: Step) -> DsnnStep:
        record = DsnnStep(prepares=-1, source=_slice(None), target=_slice(None), residual=_slice(None))
        if not isinstance(step, Quantise):
            record.source = _slice(step.source)
        if not isinstance(step, Dequantise):
            record.target = _slice(step.target)
        if isinstance(step, Quantise):
            self._quantise_(record, step)
        elif isinstance(step, Convolve):
            self._convolve_(record, step)
        elif isinstance(step, Pointwise):
            record.kind = POINTWISE
            self._scaled_(record, step.scale, step.bias, step.residual, step.clamp)
        elif isinstance(step, MaxPool | MeanPool):
            record.kind, record.rows, record.columns = POOL, self._numbers(step.rows), self._numbers(step.columns)
            if isinstance(step, MeanPool):
                record.scale, record.offset = self._pointer(step.scale, torch.float32), step.offset
                record.low, record.high = step.clamp.lowest, step.clamp.highest
        elif isinstance(step, Copy):
            record.kind, record.stride_h, record.stride_w = COPY, *step.stride
            record.source_first, record.target_first, record.size = step.source_first, step.target_first, step.size
        elif isinstance(step, ShiftChannels):
            record.kind, record.moves, record.n_moves = SHIFT_CHANNELS, self._numbers(step.moves), len(step.moves)
        else:
            record.kind, record.factor = DEQUANTISE, step.scale
        return record

    def _quantise_(self, record: DsnnStep, step: Quantise) -> None:
        target = self._plan.activations[step.target.activation]
        record.kind, record.factor, record.offset = QUANTISE, step.inverse_scale, step.offset
        record.low, record.high = step.clamp.lowest, step.clamp.highest
        record.is_flat = target.height == target.width == 1

    def _convolve_(self, record: DsnnStep, step: Convolve) -> None:
        record.kind = CONVOLVE
        self._scaled_(record, step.scale, step.bias, step.residual, step.clamp)
        layout = Layout(step.weight.shape, step.weight.groups)
        record.weight, correction = self._weight(step, layout)
        if isinstance(step.weight, WinogradWeight):
            record.output_transform = self._numbers(step.weight.output_transform)
        record.correction = self._pointer(correction, torch.int64)
        record.kernel_h, record.kernel_w = step.weight.shape[2:]
        record.stride_h, record.stride_w = step.stride
        record.dilation_h, record.dilation_w = step.dilation
        record.pad_top, record.pad_left = step.padding[:2]
        record.groups = step.weight.groups
        record.depthwise = layout.is_depthwise and not isinstance(step.weight, WinogradWeight)

    def _scaled_(self, record: DsnnStep, scale: Tensor, bias: Tensor, residual: Residual | None, clamp: Clamp) -> None:
        record.scale, record.bias = self._pointer(scale, torch.float32), self._pointer(bias, torch.float32)
        record.low, record.high = clamp.lowest, clamp.highest
        if residual is not None:
            record.residual, record.residual_scale = _slice(residual.source), residual.scale

    def _weight(self, step: Convolve, layout: Layout) -> tuple[WeightStructure, Tensor]:
        """Returns the weight, and what to take off the sum of each of its rows, int64."""
        weight, zero = step.weight, self._plan.zero(step.source)
        if isinstance(weight, AdderWeight):
            self._check_quads(step, layout)
            blocks, correction = _adder_blocks(weight, zero, layout)
            operation = DISTANCE if weight.operation == "distance" else MINIMUM
            return WeightStructure(
                self._pointer(blocks, torch.uint8), None, 8, 0, layout.n_quads, operation
            ), correction
        if isinstance(weight, WinogradWeight):
            self._check_quads(step, layout)
            blocks, correction = _winograd_blocks(weight, zero), torch.zeros(len(weight.values))
            n_quads = -(-weight.values.shape[1] // QUAD)
            return WeightStructure(self._pointer(blocks, torch.int16), None, 8, 0, n_quads, WINOGRAD), correction
        correction = weight.integers().flatten(1).sum(1) * zero
        if isinstance(weight, PackedWeight):
            codes, planes = self._pointer(weight.codes, torch.uint8), self._pointer(weight.n_planes, torch.uint8)
            return WeightStructure(codes, planes, weight.bits, weight.has_zero, layout.n_quads, PRODUCT), correction
        blocks = _blocks(weight.values, layout)
        return WeightStructure(self._pointer(blocks, torch.int8), None, 8, 0, layout.n_quads, PRODUCT), correction

    def _check_quads(self, step: Convolve, layout: Layout) -> None:
        """Raises ValueError where a quad of an adder's group would take in channels that are not the group's."""
        source, groups = step.source, step.weight.groups
        is_depthwise = layout.is_depthwise and isinstance(step.weight, AdderWeight)
        is_whole = source.first_channel + source.n_channels == self._plan.activations[source.activation].channels
        if is_depthwise or step.weight.shape[1] % QUAD == 0 or (groups == 1 and is_whole):
            return
        raise ValueError(
            f"step {step.name!r}: an adder takes a multiple of {QUAD} channels a group, not {step.weight.shape[1]}; pad "
            "them with the zero point"
        )

    def _numbers(self, numbers: Iterable[Sequence[int]]) -> int:
        return self._pointer(torch.tensor(list(numbers), dtype=torch.int32, device="cpu"), torch.int32)

    def _pointer(self, tensor: Tensor, dtype: torch.dtype) -> int:
        kept = tensor.detach().to("cpu", dtype).contiguous()
        self._tensors.append(kept)
        return kept.data_ptr()


def _slice(part: Slice | None) -> Any:
    return DsnnSlice(-1, 0, 0) if part is None else DsnnSlice(part.activation, part.first_channel, part.n_channels)


def _blocks(values: Tensor, layout: Layout) -> Tensor:
    """Returns 8-bit values in the order of the kernels, [block][quad][16 rows][4 columns]."""
    blocks = layout.blocks_of(values)
    return blocks.view(layout.n_blocks, BLOCK_ROWS, layout.n_quads, QUAD).transpose(1, 2)


def _adder_blocks(weight: AdderWeight, zero: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Returns the weight as q of its activation, 8 bits, in blocks, and what to take off each row's sum.

    A value outside of 0 to 255 is as far from every q as the nearer end is, and the distance between them more.
    """
    values, rest = _clamped(weight.values.long() + zero)
    blocks = _blocks(values, layout)
    if weight.operation == "distance":
        return blocks, rest
    mirrored, more = _clamped(zero - weight.values.long())
    return torch.stack((blocks, _blocks(mirrored, layout)), 1), rest - more


def _clamped(q: Tensor) -> tuple[Tensor, Tensor]:
    inside = q.clamp(0, 255)
    return inside.to(torch.uint8), (q - inside).abs().flatten(1).sum(1)


def _winograd_blocks(weight: WinogradWeight, zero: int) -> Tensor:
    """Returns the weight as it meets the transformed q, [block][16 places][pair of columns][16 rows][2 columns]."""
    into = torch.tensor(INPUT_TRANSFORM, device="cpu").sum(1)
    values = weight.values.cpu().long() + zero * torch.outer(into, into)
    n_rows, n_columns = values.shape[:2]
    values = values.view(weight.groups, n_rows // weight.groups, n_columns, 16).permute(0, 3, 1, 2)
    values = torch.nn.functional.pad(values, (0, -n_columns % QUAD, 0, -(n_rows // weight.groups) % BLOCK_ROWS))
    n_blocks, n_pairs = values.shape[2] // BLOCK_ROWS, values.shape[3] // 2
    return values.view(weight.groups, 16, n_blocks, BLOCK_ROWS, n_pairs, 2).permute(0, 2, 1, 4, 3, 5)
