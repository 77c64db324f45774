"""What rounding does to the mean of an adder's sums, found on samples and taken off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from dsnn_hpo.executor._calibrate import BATCH, Format, run_traced
from dsnn_hpo.executor._formats import Formats
from dsnn_hpo.executor._graph import Graph, Node, Weighted
from dsnn_hpo.kernels import adder_conv2d
from dsnn_hpo.kernels.winograd import transformed_input, transformed_output

_MAX_SAMPLES = 256
"""So many tell a channel's mean: each of them has many pixels, or a linear layer has few sums."""


def corrected(graph: Graph, formats: Formats, traced: fx.GraphModule, samples: Tensor) -> Graph:
    """Returns the graph with addends of adders that make up for the mean error of each channel.

    Distances of rounded values are not off by chance alone: a weight that is rounded up is nearer to all larger inputs,
    and of equal values only the rounded ones can differ. Over many terms, and over all pixels, that adds up.
    """
    layers = {
        name: node
        for name, node in graph.nodes.items()
        if isinstance(node.operation, Weighted) and node.operation.compares
    }
    if not layers:
        return graph
    totals = {name: torch.zeros(node.shape[0], dtype=torch.float64, device="cpu") for name, node in layers.items()}
    n_terms = dict.fromkeys(layers, 0)
    wanted = {node.inputs[0] for node in layers.values()}
    for values in _inputs(traced, wanted, samples[:_MAX_SAMPLES]):
        for name, node in layers.items():
            errors = _errors(node, graph.nodes[node.inputs[0]], values[node.inputs[0]], formats.of[node.inputs[0]])
            totals[name] += errors.double().sum((0, 2, 3)).cpu()
            n_terms[name] += errors[:, 0].numel()
    means = {name: total / n_terms[name] for name, total in totals.items()}
    return Graph({name: _moved(node, means) for name, node in graph.nodes.items()}, graph.output)


def _inputs(traced: fx.GraphModule, names: set[str], samples: Tensor) -> Iterator[Mapping[str, Tensor]]:
    """Yields the named values, batch by batch."""
    for first in range(0, len(samples), BATCH):
        found: dict[str, Tensor] = {}

        def look(name: str, value: Any, found: dict[str, Tensor] = found) -> None:
            if name in names:
                # Copied: an operation in place may change it later.
                found[name] = value.detach().clone()

        run_traced(traced, samples[first : first + BATCH], look)
        yield found


def _errors(node: Node, source: Node, value: Tensor, fmt: Format) -> Tensor:
    """Returns by how much the sums of rounded values are off, (n, rows, h, w)."""
    operation = node.operation
    assert isinstance(operation, Weighted)
    x = value.float().reshape(len(value), *source.shape)
    weight = operation.weight.to(x)
    levels = torch.round(x / fmt.scale + fmt.offset).clamp(fmt.lowest, fmt.highest)
    return _sums(operation, levels * fmt.scale, torch.round(weight / fmt.scale) * fmt.scale) - _sums(
        operation, x, weight
    )


def _sums(operation: Weighted, x: Tensor, weight: Tensor) -> Tensor:
    top, left, bottom, right = operation.padding
    if operation.kind == "winograd":
        height, width = x.shape[2] + top + bottom - 2, x.shape[3] + left + right - 2
        x = functional.pad(x, (left, right + width % 2, top, bottom + height % 2))
        filters = weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1], 1, 1)
        distances = adder_conv2d(transformed_input(x), filters, groups=16 * operation.groups)
        return transformed_output(distances)[:, :, :height, :width]
    x = functional.pad(x, (left, right, top, bottom))
    geometry = (operation.stride, 0, operation.dilation, operation.groups)
    sums = adder_conv2d(x, weight, *geometry)
    return sums if operation.kind == "distance" else (sums - adder_conv2d(x, -weight, *geometry)) / 2


def _moved(node: Node, means: Mapping[str, Tensor]) -> Node:
    operation = node.operation
    if node.name not in means or not isinstance(operation, Weighted):
        return node
    addend = operation.addend - means[node.name] * operation.multiplier
    return replace(node, operation=replace(operation, addend=addend))
