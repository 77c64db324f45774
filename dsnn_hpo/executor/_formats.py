"""Which 8-bit format each value of the graph gets, and where a value needs a second one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dsnn_hpo.executor._calibrate import Format, Observed, best_format, grid_binds
from dsnn_hpo.executor._graph import (
    Affine,
    Concat,
    Graph,
    Grid,
    Input,
    MaxWindows,
    MeanWindows,
    Move,
    Node,
    SpatialMove,
    Weighted,
)

_KEEPS_FORMAT = (MaxWindows, Move, SpatialMove)


@dataclass(frozen=True, slots=True)
class Formats:
    """The formats of a graph's values.

    Attributes:
        of: name of a value -> its format; the network's logits, which stay float, have none.
        regrid: (name of a value, grid) -> the format in which the shift layers of that grid take it instead.
    """

    of: Mapping[str, Format]
    regrid: Mapping[tuple[str, Grid], Format]


def float_output(graph: Graph) -> bool:
    """Returns whether the last layer can write the network's output as float by itself."""
    node = graph.nodes[graph.output]
    operation = node.operation
    if not isinstance(operation, Weighted) or node.shape[1:] != (1, 1) or graph.users(node.name):
        return False
    return len(node.inputs) == 1 and (operation.lowest, operation.highest) == (-float("inf"), float("inf"))


def observed_names(graph: Graph) -> frozenset[str]:
    """Returns the names of the values whose ranges must be known."""
    names = [name for name, node in graph.nodes.items() if not isinstance(node.operation, _KEEPS_FORMAT)]
    return frozenset(name for name in names if not (name == graph.output and float_output(graph)))


def choose_formats(graph: Graph, observed: Mapping[str, Observed]) -> Formats:
    """Returns the formats of all values: by their ranges, and by the fixed-point formats of those who take them.

    A value that shift layers of one format take, and nobody else, is written in it where it binds. Where others take
    it too, it is written as its own range wants, and once more for those layers. What only a concatenation takes is
    written in that one's format. What adders take is written so that their weights fit the same format, too.
    """
    is_signed = _signs(graph, observed)
    of: dict[str, Format] = {}
    for name in reversed(graph.nodes):
        if name not in observed:
            continue
        users = graph.users(name)
        if len(users) == 1 and isinstance(users[0].operation, Concat) and name != graph.output:
            of[name] = of[users[0].name]
            continue
        grids = _binding_grids(graph, name, observed[name], is_signed=is_signed[name])
        grid = next(iter(grids)) if len(grids) == 1 else None
        compared = tuple(_compared_weights(graph, name))
        of[name] = best_format(observed[name], grid, compared, is_signed=is_signed[name])
    regrid: dict[tuple[str, Grid], Format] = {}
    for name, node in graph.nodes.items():
        if isinstance(node.operation, _KEEPS_FORMAT):
            of[name] = of[node.inputs[0]]
        elif isinstance(node.operation, Weighted) and node.operation.grid is not None:
            source, grid = node.inputs[0], node.operation.grid
            seen = observed[_root(graph, source)]
            signed = is_signed[source]
            if grid_binds(seen, grid, is_signed=signed):
                wanted = best_format(seen, grid, is_signed=signed)
                if wanted != of[source]:
                    regrid[source, grid] = wanted
    return Formats(of, regrid)


def _binding_grids(graph: Graph, name: str, seen: Observed, *, is_signed: bool) -> set[Grid | None]:
    """Returns the grids that the takers of a value need, None for those that need none."""
    grids: set[Grid | None] = {None} if name == graph.output else set()
    for user in graph.users(name):
        operation = user.operation
        if isinstance(operation, _KEEPS_FORMAT):
            grids |= _binding_grids(graph, user.name, seen, is_signed=is_signed)
        elif isinstance(operation, Weighted) and user.inputs[0] == name and name not in user.inputs[1:]:
            grid = operation.grid
            grids.add(grid if grid is not None and grid_binds(seen, grid, is_signed=is_signed) else None)
        else:
            grids.add(None)
    return grids


def _compared_weights(graph: Graph, name: str) -> Iterator[Weighted]:
    """Yields the layers whose weights are written in the format of a value."""
    for user in graph.users(name):
        if isinstance(user.operation, _KEEPS_FORMAT):
            yield from _compared_weights(graph, user.name)
        elif isinstance(user.operation, Weighted) and user.operation.compares and user.inputs[0] == name:
            yield user.operation


def _root(graph: Graph, name: str) -> str:
    node = graph.nodes[name]
    return _root(graph, node.inputs[0]) if isinstance(node.operation, _KEEPS_FORMAT) else name


def _signs(graph: Graph, observed: Mapping[str, Observed]) -> dict[str, bool]:
    """Returns whether each value can be negative: by what made it; of the input, whether a sample was."""
    signs: dict[str, bool] = {}
    for name, node in graph.nodes.items():
        signs[name] = _is_signed(node, observed, signs)
    return signs


def _is_signed(node: Node, observed: Mapping[str, Observed], signs: dict[str, bool]) -> bool:
    operation = node.operation
    if isinstance(operation, Input):
        return observed[node.name].lowest < 0
    if isinstance(operation, Weighted):
        return not operation.lowest >= 0
    if isinstance(operation, Affine):
        keeps_sign = operation.is_plain and not any(signs[source] for source in node.inputs)
        return not (operation.lowest >= 0 or keeps_sign)
    assert isinstance(operation, MaxWindows | MeanWindows | Move | SpatialMove | Concat)
    return any(signs[source] for source in node.inputs)
