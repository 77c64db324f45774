"""A network as a graph of few float operations: what tracing gives and what the rewrites work on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Shape: TypeAlias = tuple[int, int, int]
"""Channels, height, width: of a value without its batch. A flattened value keeps the shape that it was flattened from."""
Windows: TypeAlias = tuple[tuple[int, int], ...]
Kind: TypeAlias = Literal["dense", "shift", "distance", "minimum", "winograd"]


@dataclass(frozen=True, slots=True)
class Grid:
    """The fixed-point format in which a shift layer takes its input: multiples of ``step`` in [lowest, highest]."""

    step: float
    lowest: float
    highest: float
    rounding: Literal["floor", "nearest"]


@dataclass(frozen=True, slots=True)
class Input:
    """The network's input; ``is_flat`` where it is taken as a vector, channel, row, column in this order."""

    is_flat: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """``clamp(sums(x, weight) * multiplier[n] + addend[n] + residual)``; a linear layer's kernel is its whole input.

    ``kind`` says what is summed: products with a "dense" or a "shift" weight, one or two signed powers of two each;
    "distance" -|x - w|; "minimum" sgn(x) sgn(w) min(|x|, |w|); "winograd" distances of transformed tiles. ``weight`` is
    float64 (n, c // groups, kh, kw), of "winograd" in its domain; ``multiplier`` and ``addend`` are float64 (n,);
    ``padding`` is (top, left, bottom, right).
    """

    weight: Tensor
    multiplier: Tensor
    addend: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    kind: Kind
    grid: Grid | None
    lowest: float = -inf
    highest: float = inf

    @property
    def compares(self) -> bool:
        """Returns whether inputs and weights meet in differences, so that they must be in one format."""
        return self.kind in ("distance", "minimum", "winograd")


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """``clamp(x * multiplier[c] + addend[c] + residual)``, element by element: normalisation, ReLU, a sum; float64."""

    multiplier: Tensor
    addend: Tensor
    lowest: float = -inf
    highest: float = inf

    @property
    def is_plain(self) -> bool:
        """Returns whether it only clamps, or adds a residual and clamps."""
        return bool((self.multiplier == 1).all() and (self.addend == 0).all())


@dataclass(frozen=True, slots=True)
class MaxWindows:
    """The maximum over windows of rows and columns, (first, end) each, without padding."""

    rows: Windows
    columns: Windows


@dataclass(frozen=True, slots=True, eq=False)
class MeanWindows:
    """The sum over windows divided by ``divisor``, float64 of the output's (height, width)."""

    rows: Windows
    columns: Windows
    divisor: Tensor


@dataclass(frozen=True, slots=True)
class Move:
    """A window of the input put into a window of zeros; triples are (channel, row, column)."""

    source_first: Shape
    target_first: Shape
    size: Shape
    stride: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class SpatialMove:
    """Channels from other places of the image; ``moves`` are (number of channels, down, right) in their order."""

    moves: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Concat:
    """The inputs side by side along the channels."""


Operation: TypeAlias = Input | Weighted | Affine | MaxWindows | MeanWindows | Move | SpatialMove | Concat


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation.

    Attributes:
        name: of the traced value that the operation gives: where calibration looks.
        label: for people: the module's qualified name or the function's.
        operation: what it does.
        inputs: names of nodes; of Weighted and Affine the second one is the residual.
        shape: of the value.
    """

    name: str
    label: str
    operation: Operation
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes in an order in which each follows its inputs; ``output`` names one."""

    nodes: dict[str, Node]
    output: str

    def users(self, name: str) -> list[Node]:
        """Returns the nodes that take a value; one that takes it twice occurs twice."""
        return [node for node in self.nodes.values() for source in node.inputs if source == name]

    def is_only_for(self, name: str, user: Node) -> bool:
        """Returns whether nothing but ``user``, once, takes a value."""
        users = self.users(name)
        return name != self.output and len(users) == 1 and users[0] is user


def identity(n_channels: int) -> Affine:
    """Returns the operation that changes nothing."""
    return Affine(
        torch.ones(n_channels, dtype=torch.float64, device="cpu"),
        torch.zeros(n_channels, dtype=torch.float64, device="cpu"),
    )


def sorted_graph(nodes: Iterable[Node], output: str) -> Graph:
    """Returns the nodes that ``output`` needs, each after its inputs, otherwise in the order given."""
    by_name = {node.name: node for node in nodes}
    ordered: dict[str, Node] = {}
    for name in _needed(by_name, output):
        stack = [name]
        while stack:
            waiting = [source for source in by_name[stack[-1]].inputs if source not in ordered]
            if waiting:
                stack.extend(reversed(waiting))
            else:
                last = stack.pop()
                ordered.setdefault(last, by_name[last])
    return Graph(ordered, output)


def _needed(by_name: dict[str, Node], output: str) -> list[str]:
    needed, stack = set(), [output]
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack.extend(by_name[name].inputs)
    return [name for name in by_name if name in needed]
