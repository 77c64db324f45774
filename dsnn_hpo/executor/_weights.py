"""From float64 weights to the integers of a plan, and how the channels of their inputs must lie for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dsnn_hpo.errors import FreezeError
from dsnn_hpo.executor._graph import Node, Weighted
from dsnn_hpo.kernels import pack
from dsnn_hpo.kernels.packed_weight import QUAD
from dsnn_hpo.kernels.plan_weight import (
    MAX_ADDER_COLUMNS,
    MAX_WINOGRAD_CHANNELS,
    AdderWeight,
    DenseWeight,
    Weight,
    WinogradWeight,
)
from dsnn_hpo.kernels.winograd import OUTPUT_TRANSFORM

_DENSE_LIMIT = 127
_MAX_DENSE_COLUMNS = 2**16
"""255 * 127 * 2**16 is below 2**31, what an accumulator holds."""
_LAST_LEVEL = 255


@dataclass(frozen=True, slots=True)
class Channels:
    """An input whose groups of ``n_channels`` stand ``n_copies`` times each, every copy padded to ``n_padded`` channels."""

    n_groups: int
    n_channels: int
    n_copies: int
    n_padded: int


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """An integer weight; the layer's sums are ``(integer sums + offset) * row_scale * scale of the input``.

    Attributes:
        weight: the integers.
        row_scale: what a row's integers are worth, float64 (n,).
        offset: float64 (n,).
        channels: how the input's channels must lie; None: as they do.
    """

    weight: Weight
    row_scale: Tensor
    offset: Tensor
    channels: Channels | None = None


def quantised(node: Node, operation: Weighted, scale: float, zero: int) -> Quantised:
    """Returns the integer weight of a layer for inputs of a scale and a zero point.

    Raises:
        FreezeError: the weight has no such form; says which layer's and why.
    """
    if operation.kind == "winograd":
        return _winograd(node, operation, scale)
    if operation.compares:
        return _adder(node, operation, scale, zero)
    if operation.kind == "dense":
        weight, groups = _with_whole_quads(operation)
        largest = weight.abs().flatten(1).amax(1)
        return _dense(node, weight, groups, torch.where(largest > 0, largest / _DENSE_LIMIT, 1.0))
    return _shift(node, operation)


def _dense(node: Node, weight: Tensor, groups: int, row_scale: Tensor) -> Quantised:
    if weight[0].numel() > _MAX_DENSE_COLUMNS:
        raise FreezeError(
            f"layer {node.label!r} has {weight[0].numel()} inputs an output; an int8 layer has at most "
            f"{_MAX_DENSE_COLUMNS}, a shift layer twice as many"
        )
    values = torch.round(weight / row_scale.view(-1, 1, 1, 1)).to(torch.int8)
    return Quantised(DenseWeight(values, groups), row_scale, torch.zeros_like(row_scale))


def _shift(node: Node, operation: Weighted) -> Quantised:
    first = _nearest_power(operation.weight)
    rest = operation.weight - first
    if bool((rest != 0).any()):
        return _two_terms(node, operation, first, rest)
    weight, groups = _with_whole_quads(operation)
    return _packed(node, weight, groups, _advice(operation, groups))


def _packed(node: Node, weight: Tensor, groups: int, advice: str = "") -> Quantised:
    try:
        packed = pack(weight, groups=groups)
    except ValueError as error:
        raise FreezeError(f"the weight of layer {node.label!r} cannot be packed: {error}{advice}") from error
    row_scale = torch.ldexp(weight.new_ones(len(weight)), packed.exponents.long())
    return Quantised(packed, row_scale, torch.zeros_like(row_scale))


def _two_terms(node: Node, operation: Weighted, first: Tensor, rest: Tensor) -> Quantised:
    """Returns int8 values where all of a row's are such multiples of its smallest term, else packed first and second terms.

    The input then stands twice, so that one sum takes in both.
    """
    smallest = torch.where(rest != 0, rest, first).abs()
    smallest = torch.where(smallest > 0, smallest, torch.inf).flatten(1).amin(1)
    row_scale = torch.where(smallest < torch.inf, smallest, 1.0)
    if bool((operation.weight.abs().flatten(1).amax(1) <= _DENSE_LIMIT * row_scale).all()):
        weight, groups = _with_whole_quads(operation)
        if weight[0].numel() <= _MAX_DENSE_COLUMNS:
            return _dense(node, weight, groups, row_scale)
    parts = [_with_whole_quads(replace(operation, weight=part), keeps_depthwise=False) for part in (first, rest)]
    weight, groups = torch.cat([part for part, _ in parts], 1), parts[0][1]
    n_channels = parts[0][0].shape[1]
    made = _packed(node, weight, groups, ". It has two powers of two, each of which stands as a weight of its own")
    return replace(made, channels=Channels(groups, n_channels, 2, n_channels))


def _nearest_power(weight: Tensor) -> Tensor:
    """Returns the signed power of two nearest to each element in the logarithm, 0 for 0."""
    power = torch.exp2(torch.round(torch.log2(weight.abs())))
    return torch.where(weight == 0, 0.0, torch.copysign(power, weight))


def _adder(node: Node, operation: Weighted, scale: float, zero: int) -> Quantised:
    """Returns the weight in the input's steps; what lies beyond the input's range is the same for all inputs but for a sum."""
    weight, channels = _with_padded_quads(operation)
    if weight[0].numel() > MAX_ADDER_COLUMNS:
        raise FreezeError(
            f"layer {node.label!r} has {weight[0].numel()} inputs an output; an adder layer has at most {MAX_ADDER_COLUMNS}"
        )
    values = torch.round(weight / scale)
    if operation.kind == "minimum":
        # No input is of a larger magnitude; the kernel sums twice the minimum.
        inside, offset = values.clamp(-_LAST_LEVEL, _LAST_LEVEL), torch.zeros_like(values[:, 0, 0, 0])
        factor = 0.5
    else:
        inside = values.clamp(-zero, _LAST_LEVEL - zero)
        offset, factor = -(values - inside).abs().flatten(1).sum(1), 1.0
    kind: Literal["distance", "minimum"] = "minimum" if operation.kind == "minimum" else "distance"
    made = AdderWeight(inside.to(torch.int16), operation.groups, kind)
    return Quantised(made, torch.full_like(offset, factor), offset, channels)


def _winograd(node: Node, operation: Weighted, scale: float) -> Quantised:
    weight, channels = _with_padded_quads(operation)
    if weight.shape[1] > MAX_WINOGRAD_CHANNELS:
        raise FreezeError(
            f"layer {node.label!r} has {weight.shape[1]} channels a group; a Winograd adder has at most "
            f"{MAX_WINOGRAD_CHANNELS}"
        )
    values = torch.round(weight / scale).to(torch.int16)
    ones = weight.new_ones(len(weight))
    made = WinogradWeight(values, OUTPUT_TRANSFORM, operation.groups)
    return Quantised(made, ones, torch.zeros_like(ones), channels)


def _advice(operation: Weighted, groups: int) -> str:
    if groups == operation.groups:
        return ""
    return (
        f". Its groups of {operation.weight.shape[1]} channels, no multiple of {QUAD}, are packed with zeros between them, "
        "which take one exponent of the range"
    )


def _is_depthwise(operation: Weighted) -> bool:
    return operation.groups == len(operation.weight) and operation.weight.shape[1] == 1


def _with_whole_quads(operation: Weighted, *, keeps_depthwise: bool = True) -> tuple[Tensor, int]:
    """Returns weight and groups; groups whose channels are no whole quads, with zeros between them, as one group."""
    weight, groups = operation.weight, operation.groups
    n_rows, n_in = weight.shape[:2]
    if groups == 1 or (keeps_depthwise and _is_depthwise(operation)) or n_in % QUAD == 0:
        return weight, groups
    whole = weight.new_zeros((n_rows, n_in * groups, *weight.shape[2:]))
    rows = n_rows // groups
    for group in range(groups):
        taken = slice(group * rows, (group + 1) * rows)
        whole[taken, group * n_in : (group + 1) * n_in] = weight[taken]
    return whole, 1


def _with_padded_quads(operation: Weighted) -> tuple[Tensor, Channels | None]:
    """Returns the weight with each group's channels padded to whole quads by zeros, as its input must be.

    Zeros between groups would not do: an adder's sum takes in the distance from zero, too.
    """
    weight, groups = operation.weight, operation.groups
    n_in = weight.shape[1]
    is_depthwise = _is_depthwise(operation) and operation.kind != "winograd"
    if groups == 1 or is_depthwise or n_in % QUAD == 0:
        return weight, None
    n_padded = -(-n_in // QUAD) * QUAD
    return torch.nn.functional.pad(weight, (0, 0, 0, 0, 0, n_padded - n_in)), Channels(groups, n_in, 1, n_padded)
