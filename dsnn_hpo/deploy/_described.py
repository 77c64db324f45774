"""A plan as the parts of ``model.json`` and named tensors, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from dsnn_hpo.deploy import _schema as schema
from dsnn_hpo.errors import ModelFolderError
from dsnn_hpo.kernels.packed_weight import PackedWeight, pack
from dsnn_hpo.kernels.plan import (
    Activation,
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
from dsnn_hpo.kernels.plan_weight import AdderWeight, DenseWeight, Weight, WinogradWeight

MAX_LAYER_WEIGHTS = 2**27
"""Checking a layer takes some tens of bytes a weight, and its codes only a few bits: a file of them could fill the memory."""


def described(plan: Plan) -> tuple[schema.PlanPart, dict[str, Tensor]]:
    """Returns a plan's part of ``model.json`` and the tensors that it refers to."""
    tensors: dict[str, Tensor] = {}
    steps = [_described_step(step, f"step{index}", tensors) for index, step in enumerate(plan.steps)]
    activations = [
        schema.ActivationPart(channels=a.channels, height=a.height, width=a.width, scale=a.scale, zero=a.zero)
        for a in plan.activations
    ]
    part = schema.PlanPart(input_shape=plan.input_shape, n_outputs=plan.n_outputs, activations=activations, steps=steps)
    return part, tensors


def restored(part: schema.PlanPart, tensors: Mapping[str, Tensor]) -> Plan:
    """Returns the plan of a part of ``model.json``; its steps are not yet checked against each other.

    Raises:
        ModelFolderError: a tensor is missing, is of another dtype or shape than its step's, or is no one's.
    """
    taken = _Tensors(tensors)
    steps = tuple(_restored_step(step, f"plan.steps.{index}", taken) for index, step in enumerate(part.steps))
    if unused := sorted(tensors.keys() - taken.names):
        raise ModelFolderError(f"weights.safetensors: tensor {unused[0]!r} belongs to no step of model.json")
    activations = tuple(Activation(a.channels, a.height, a.width, a.scale, a.zero) for a in part.activations)
    return Plan(part.input_shape, part.n_outputs, activations, steps)


class _Tensors:
    """Hands out tensors by name, each once, of the dtype and shape that are wanted."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.names: set[str] = set()

    def take(self, name: str, place: str, dtype: torch.dtype, shape: tuple[int, ...] | int) -> Tensor:
        """Returns a tensor; ``shape`` is a shape, or the number of dimensions, none of which may be empty."""
        if name in self.names or name not in self._tensors:
            trouble = "is another one's" if name in self.names else "is not in weights.safetensors"
            raise ModelFolderError(f"model.json: {place}: tensor {name!r} {trouble}")
        self.names.add(name)
        tensor = self._tensors[name]
        fits = tensor.dim() == shape if isinstance(shape, int) else tuple(tensor.shape) == shape
        if tensor.dtype != dtype or not fits or not tensor.numel():
            wanted = f"{shape} dimensions" if isinstance(shape, int) else f"shape {shape}"
            raise ModelFolderError(
                f"weights.safetensors: tensor {name!r} of {place} is {tensor.dtype} of shape {tuple(tensor.shape)}, "
                f"expected {dtype} of {wanted}, not empty"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelFolderError(f"weights.safetensors: tensor {name!r} of {place} holds NaN or infinity")
        return tensor


def _slice_part(part: Slice) -> schema.SlicePart:
    return schema.SlicePart(activation=part.activation, first_channel=part.first_channel, n_channels=part.n_channels)


def _slice(part: schema.SlicePart) -> Slice:
    return Slice(part.activation, part.first_channel, part.n_channels)


def _clamp_part(clamp: Clamp) -> schema.ClampPart:
    return schema.ClampPart(lowest=clamp.lowest, highest=clamp.highest)


def _clamp(part: schema.ClampPart) -> Clamp:
    return Clamp(part.lowest, part.highest)


def _residual_part(residual: Residual | None) -> schema.ResidualPart | None:
    return None if residual is None else schema.ResidualPart(source=_slice_part(residual.source), scale=residual.scale)


def _residual(part: schema.ResidualPart | None) -> Residual | None:
    return None if part is None else Residual(_slice(part.source), part.scale)


def _kept(tensors: dict[str, Tensor], name: str, tensor: Tensor) -> str:
    # A copy: tensors that share their memory are no one's to save.
    tensors[name] = tensor.detach().cpu().clone()
    return name


def _described_step(step: Step, key: str, tensors: dict[str, Tensor]) -> schema.StepPart:
    if isinstance(step, Quantise):
        return schema.QuantisePart(
            kind="quantise",
            name=step.name,
            target=_slice_part(step.target),
            inverse_scale=step.inverse_scale,
            offset=step.offset,
            clamp=_clamp_part(step.clamp),
        )
    if isinstance(step, Convolve):
        return _described_convolution(step, key, tensors)
    source = _slice_part(step.source)
    if isinstance(step, Dequantise):
        return schema.DequantisePart(kind="dequantise", name=step.name, source=source, scale=step.scale)
    target = _slice_part(step.target)
    if isinstance(step, Pointwise):
        return schema.PointwisePart(
            kind="pointwise",
            name=step.name,
            source=source,
            target=target,
            scale=_kept(tensors, f"{key}.scale", step.scale),
            bias=_kept(tensors, f"{key}.bias", step.bias),
            residual=_residual_part(step.residual),
            clamp=_clamp_part(step.clamp),
        )
    if isinstance(step, Copy | ShiftChannels):
        return _described_move(step)
    return _described_pool(step, key, tensors)


def _described_move(step: Copy | ShiftChannels) -> schema.StepPart:
    source, target = _slice_part(step.source), _slice_part(step.target)
    if isinstance(step, ShiftChannels):
        return schema.ShiftChannelsPart(
            kind="shift_channels", name=step.name, source=source, target=target, moves=list(step.moves)
        )
    return schema.CopyPart(
        kind="copy",
        name=step.name,
        source=source,
        target=target,
        source_first=step.source_first,
        target_first=step.target_first,
        size=step.size,
        stride=step.stride,
    )


def _described_pool(step: MaxPool | MeanPool, key: str, tensors: dict[str, Tensor]) -> schema.StepPart:
    source, target = _slice_part(step.source), _slice_part(step.target)
    rows, columns = list(step.rows), list(step.columns)
    if isinstance(step, MaxPool):
        return schema.MaxPoolPart(
            kind="max_pool", name=step.name, source=source, target=target, rows=rows, columns=columns
        )
    return schema.MeanPoolPart(
        kind="mean_pool",
        name=step.name,
        source=source,
        target=target,
        rows=rows,
        columns=columns,
        scale=_kept(tensors, f"{key}.scale", step.scale),
        offset=step.offset,
        clamp=_clamp_part(step.clamp),
    )


def _described_convolution(step: Convolve, key: str, tensors: dict[str, Tensor]) -> schema.ConvolvePart:
    return schema.ConvolvePart(
        kind="convolve",
        name=step.name,
        source=_slice_part(step.source),
        target=None if step.target is None else _slice_part(step.target),
        weight=_described_weight(step.weight, key, tensors),
        stride=step.stride,
        padding=step.padding,
        dilation=step.dilation,
        scale=_kept(tensors, f"{key}.scale", step.scale),
        bias=_kept(tensors, f"{key}.bias", step.bias),
        residual=_residual_part(step.residual),
        clamp=_clamp_part(step.clamp),
    )


def _described_weight(weight: Weight, key: str, tensors: dict[str, Tensor]) -> schema.WeightPart:
    if isinstance(weight, PackedWeight):
        return schema.PackedPart(
            kind="packed",
            codes=_kept(tensors, f"{key}.codes", weight.codes),
            exponents=_kept(tensors, f"{key}.exponents", weight.exponents),
            shape=list(weight.shape),
            bits=weight.bits,
            has_zero=weight.has_zero,
            groups=weight.groups,
        )
    values, groups = _kept(tensors, f"{key}.values", weight.values), weight.groups
    if isinstance(weight, DenseWeight):
        return schema.DensePart(kind="dense", values=values, groups=groups)
    if isinstance(weight, AdderWeight):
        return schema.AdderPart(kind="adder", values=values, groups=groups, operation=weight.operation)
    return schema.WinogradPart(kind="winograd", values=values, groups=groups, output_transform=weight.output_transform)


def _restored_step(part: schema.StepPart, place: str, tensors: _Tensors) -> Step:
    if isinstance(part, schema.QuantisePart):
        return Quantise(part.name, _slice(part.target), part.inverse_scale, part.offset, _clamp(part.clamp))
    source = _slice(part.source)
    if isinstance(part, schema.DequantisePart):
        return Dequantise(part.name, source, part.scale)
    if isinstance(part, schema.ConvolvePart):
        return _restored_convolution(part, place, tensors)
    target = _slice(part.target)
    if isinstance(part, schema.PointwisePart):
        n = (target.n_channels,)
        scale = tensors.take(part.scale, f"{place}.scale", torch.float32, n)
        bias = tensors.take(part.bias, f"{place}.bias", torch.float32, n)
        return Pointwise(part.name, source, target, scale, bias, _residual(part.residual), _clamp(part.clamp))
    if isinstance(part, schema.CopyPart):
        return Copy(part.name, source, target, part.source_first, part.target_first, part.size, part.stride)
    if isinstance(part, schema.ShiftChannelsPart):
        return ShiftChannels(part.name, source, target, tuple(part.moves))
    rows, columns = tuple(part.rows), tuple(part.columns)
    if isinstance(part, schema.MaxPoolPart):
        return MaxPool(part.name, source, target, rows, columns)
    scale = tensors.take(part.scale, f"{place}.scale", torch.float32, (len(rows), len(columns)))
    return MeanPool(part.name, source, target, rows, columns, scale, part.offset, _clamp(part.clamp))


def _restored_convolution(part: schema.ConvolvePart, place: str, tensors: _Tensors) -> Convolve:
    try:
        weight = _restored_weight(part.weight, f"{place}.weight", tensors)
    except (TypeError, ValueError) as error:
        # The weights' own checks of what their integers may be.
        raise ModelFolderError(f"model.json: {place}.weight: {error}") from error
    n = (weight.shape[0],)
    return Convolve(
        part.name,
        _slice(part.source),
        None if part.target is None else _slice(part.target),
        weight,
        part.stride,
        part.padding,
        part.dilation,
        tensors.take(part.scale, f"{place}.scale", torch.float32, n),
        tensors.take(part.bias, f"{place}.bias", torch.float32, n),
        _residual(part.residual),
        _clamp(part.clamp),
    )


def _restored_weight(part: schema.WeightPart, place: str, tensors: _Tensors) -> Weight:
    if isinstance(part, schema.PackedPart):
        codes = tensors.take(part.codes, place, torch.uint8, 1)
        exponents = tensors.take(part.exponents, place, torch.int16, 1)
        _check_number(math.prod(part.shape))
        packed = PackedWeight(codes, exponents, tuple(part.shape), part.bits, part.has_zero, part.groups)
        _check_packed(packed, place)
        return packed
    dtype = torch.int8 if isinstance(part, schema.DensePart) else torch.int16
    values = tensors.take(part.values, place, dtype, 4)
    _check_number(values.numel())
    if isinstance(part, schema.DensePart):
        return DenseWeight(values, part.groups)
    if isinstance(part, schema.AdderPart):
        return AdderWeight(values, part.groups, part.operation)
    return WinogradWeight(values, part.output_transform, part.groups)


def _check_number(n: int) -> None:
    if n > MAX_LAYER_WEIGHTS:
        raise ValueError(f"{n} weights, at most {MAX_LAYER_WEIGHTS} of a layer")


def _check_packed(packed: PackedWeight, place: str) -> None:
    """Checks that codes are as ``pack`` lays them out, those between rows and channels, which nobody should read, too."""
    again = pack(packed.unpack(torch.float64), packed.bits, groups=packed.groups)
    same = torch.equal(again.codes, packed.codes) and torch.equal(again.exponents, packed.exponents)
    if not same or again.has_zero != packed.has_zero:
        raise ModelFolderError(f"model.json: {place}: its codes are not those of a packed weight")
