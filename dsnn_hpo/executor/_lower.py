"""From the graph and its formats to the plan of integer steps."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from dsnn_hpo.errors import FreezeError
from dsnn_hpo.executor._calibrate import Format
from dsnn_hpo.executor._formats import Formats, float_output
from dsnn_hpo.executor._graph import (
    Affine,
    Concat,
    Graph,
    Input,
    MaxWindows,
    MeanWindows,
    Move,
    Node,
    Shape,
    SpatialMove,
    Weighted,
)
from dsnn_hpo.executor._weights import Channels, quantised
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


def lowered(graph: Graph, formats: Formats, input_shape: Shape) -> Plan:
    """Returns the plan of a graph.

    Raises:
        FreezeError: a weight cannot be packed, or a scale leaves the range of float32.
    """
    return _Lowering(graph, formats).plan(input_shape)


class _Lowering:
    def __init__(self, graph: Graph, formats: Formats) -> None:
        self._graph = graph
        self._formats = formats
        self._activations: list[Activation] = []
        self._steps: list[Step] = []
        self._places: dict[str, Slice] = {}
        self._regridded: dict[object, Slice] = {}
        self._repeated: dict[tuple[Slice, Channels], Slice] = {}

    def plan(self, input_shape: Shape) -> Plan:
        for node in self._graph.nodes.values():
            self._lower(node)
        last = self._graph.nodes[self._graph.output]
        if not float_output(self._graph):
            self._steps.append(Dequantise("output", self._places[last.name], self._formats.of[last.name].scale))
        n_outputs = last.shape[0] * last.shape[1] * last.shape[2]
        return Plan(input_shape, n_outputs, tuple(self._activations), tuple(self._steps))

    def _lower(self, node: Node) -> None:
        operation = node.operation
        if isinstance(operation, Input):
            fmt = self._formats.of[node.name]
            self._steps.append(
                Quantise(node.label, self._target(node), _single(1.0 / fmt.scale), fmt.offset, _clamp(fmt))
            )
        elif isinstance(operation, Weighted):
            self._weighted(node, operation)
        elif isinstance(operation, Affine):
            self._affine(node, operation)
        elif isinstance(operation, MeanWindows):
            self._mean(node, operation)
        elif isinstance(operation, MaxWindows):
            source = self._places[node.inputs[0]]
            self._steps.append(MaxPool(node.label, source, self._target(node), operation.rows, operation.columns))
        elif isinstance(operation, Move):
            source, target = self._places[node.inputs[0]], self._target(node)
            first = (operation.source_first, operation.target_first)
            self._steps.append(Copy(node.label, source, target, *first, operation.size, operation.stride))
        elif isinstance(operation, SpatialMove):
            source = self._places[node.inputs[0]]
            self._steps.append(ShiftChannels(node.label, source, self._target(node), operation.moves))
        else:
            self._concat(node)

    def _weighted(self, node: Node, operation: Weighted) -> None:
        source = self._input(node, operation)
        taken = self._activations[source.activation]
        made = quantised(node, operation, taken.scale, taken.zero)
        source = self._laid_out(node, source, made.channels)
        multiplier = made.row_scale * operation.multiplier * taken.scale
        addend = operation.addend + made.offset * multiplier
        if node.name == self._graph.output and float_output(self._graph):
            target, residual, clamp = None, None, Clamp(0, 0)
        else:
            fmt = self._formats.of[node.name]
            multiplier, addend = multiplier / fmt.scale, addend / fmt.scale + fmt.offset
            residual = self._residual(node, fmt)
            target, clamp = self._target(node), _limited(fmt, operation.lowest, operation.highest)
        geometry = (operation.stride, operation.padding, operation.dilation)
        scale, bias = self._float(node, multiplier), self._float(node, addend)
        self._steps.append(Convolve(node.label, source, target, made.weight, *geometry, scale, bias, residual, clamp))

    def _input(self, node: Node, operation: Weighted) -> Slice:
        """Returns the layer's input in the format that its grid wants."""
        name = node.inputs[0]
        place = self._places[name]
        key = (name, operation.grid)
        if operation.grid is None or (name, operation.grid) not in self._formats.regrid:
            return place
        if key not in self._regridded:
            fmt = self._formats.regrid[name, operation.grid]
            self._regridded[key] = self._new(self._graph.nodes[name].shape, fmt)
            self._rescale(f"{node.label}.input", place, self._regridded[key], fmt)
        return self._regridded[key]

    def _laid_out(self, node: Node, source: Slice, channels: Channels | None) -> Slice:
        """Returns the source with its groups of channels repeated or padded with zeros as the weight wants."""
        if channels is None:
            return source
        key = (source, channels)
        if key not in self._repeated:
            whole = self._activations[source.activation]
            n, n_out = channels.n_channels, channels.n_padded
            shape = (channels.n_groups * channels.n_copies * n_out, whole.height, whole.width)
            self._activations.append(Activation(*shape, whole.scale, whole.zero))
            target = Slice(len(self._activations) - 1, 0, shape[0])
            for index, (group, copy) in enumerate(
                itertools.product(range(channels.n_groups), range(channels.n_copies))
            ):
                part = Slice(target.activation, index * n_out, n_out)
                first, size = (group * n, 0, 0), (n, whole.height, whole.width)
                name = f"{node.label}.input{group}.{copy}"
                self._steps.append(Copy(name, source, part, first, (0, 0, 0), size, (1, 1)))
            self._repeated[key] = target
        return self._repeated[key]

    def _affine(self, node: Node, operation: Affine) -> None:
        fmt = self._formats.of[node.name]
        source = self._places[node.inputs[0]]
        in_scale = self._activations[source.activation].scale
        residual = self._residual(node, fmt)
        self._steps.append(
            Pointwise(
                node.label,
                source,
                self._target(node),
                self._float(node, operation.multiplier * in_scale / fmt.scale),
                self._float(node, operation.addend / fmt.scale + fmt.offset),
                residual,
                _limited(fmt, operation.lowest, operation.highest),
            )
        )

    def _residual(self, node: Node, fmt: Format) -> Residual | None:
        if len(node.inputs) == 1:
            return None
        source = self._places[node.inputs[1]]
        return Residual(source, _single(self._activations[source.activation].scale / fmt.scale))

    def _mean(self, node: Node, operation: MeanWindows) -> None:
        fmt = self._formats.of[node.name]
        source = self._places[node.inputs[0]]
        in_scale = self._activations[source.activation].scale
        scale = self._float(node, in_scale / (operation.divisor * fmt.scale))
        windows = (operation.rows, operation.columns)
        self._steps.append(MeanPool(node.label, source, self._target(node), *windows, scale, fmt.offset, _clamp(fmt)))

    def _concat(self, node: Node) -> None:
        """Copies what did not write its slice of the concatenation by itself."""
        whole = self._whole(node)
        fmt, first = self._formats.of[node.name], 0
        for name in node.inputs:
            part = self._graph.nodes[name]
            place = Slice(whole.activation, first, part.shape[0])
            if self._places[name] != place:
                label = f"{node.label}.{name}"
                if self._formats.of[name] == fmt:
                    begin = (0, 0, 0)
                    self._steps.append(Copy(label, self._places[name], place, begin, begin, part.shape, (1, 1)))
                else:
                    self._rescale(label, self._places[name], place, fmt)
            first += part.shape[0]

    def _rescale(self, label: str, source: Slice, target: Slice, fmt: Format) -> None:
        ratio = self._activations[source.activation].scale / fmt.scale
        scale = torch.full((source.n_channels,), ratio, dtype=torch.float32, device="cpu")
        bias = torch.full((source.n_channels,), fmt.offset, dtype=torch.float32, device="cpu")
        self._steps.append(Pointwise(label, source, target, scale, bias, None, _clamp(fmt)))

    def _target(self, node: Node) -> Slice:
        """Returns where a node writes: its slice of the concatenation if that is the only taker, else its own place."""
        users = self._graph.users(node.name)
        alone = len(users) == 1 and node.name != self._graph.output
        if (
            alone
            and isinstance(users[0].operation, Concat)
            and self._formats.of[users[0].name] == self._formats.of[node.name]
        ):
            whole, first = self._whole(users[0]), 0
            for name in users[0].inputs[: users[0].inputs.index(node.name)]:
                first += self._graph.nodes[name].shape[0]
            place = Slice(whole.activation, first, node.shape[0])
        else:
            place = self._new(node.shape, self._formats.of[node.name])
        self._places[node.name] = place
        return place

    def _whole(self, concat: Node) -> Slice:
        if concat.name not in self._places:
            self._places[concat.name] = self._new(concat.shape, self._formats.of[concat.name])
        return self._places[concat.name]

    def _new(self, shape: Shape, fmt: Format) -> Slice:
        self._activations.append(Activation(*shape, fmt.scale, fmt.zero))
        return Slice(len(self._activations) - 1, 0, shape[0])

    def _float(self, node: Node, values: Tensor) -> Tensor:
        result = values.float()
        if not torch.isfinite(result).all():
            raise FreezeError(f"layer {node.label!r}: a folded scale or bias is NaN or infinite in float32")
        return result.contiguous()


def _clamp(fmt: Format) -> Clamp:
    return Clamp(fmt.lowest, fmt.highest)


def _limited(fmt: Format, lowest: float, highest: float) -> Clamp:
    """Returns the format's limits, and an activation function's inside them."""
    least = fmt.lowest if lowest == -float("inf") else round(min(max(lowest / fmt.scale, fmt.lowest), fmt.highest))
    most = fmt.highest if highest == float("inf") else round(min(max(highest / fmt.scale, fmt.lowest), fmt.highest))
    return Clamp(least, most)


def _single(value: float) -> float:
    return torch.tensor(value, dtype=torch.float32, device="cpu").item()
