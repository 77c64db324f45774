"""Rewrites of the graph: normalisation, ReLU and sums go into the convolution before them."""

from __future__ import annotations

from dataclasses import replace

from dsnn_hpo.executor._graph import Affine, Graph, Move, Node, Weighted, sorted_graph


def fused(graph: Graph) -> Graph:
    """Returns the graph with fewer nodes and the same values."""
    while (rewritten := _rewritten(graph)) is not None:
        graph = rewritten
    return sorted_graph(graph.nodes.values(), graph.output)


def _rewritten(graph: Graph) -> Graph | None:
    for node in graph.nodes.values():
        merged = _merged(graph, node)
        if merged is None:
            continue
        gone, new = merged
        nodes = [new if other is node else other for other in graph.nodes.values() if other is not gone]
        return sorted_graph(nodes, graph.output)
    return None


def _merged(graph: Graph, node: Node) -> tuple[Node, Node] | None:
    """Returns a node that ``node`` can take in, and what becomes of ``node``."""
    if isinstance(node.operation, Move):
        return _merged_moves(graph, node)
    if not isinstance(node.operation, Affine):
        return None
    if len(node.inputs) == 1:
        return _merged_affine(graph, node, node.operation)
    return _merged_sum(graph, node, node.operation)


def _merged_affine(graph: Graph, node: Node, affine: Affine) -> tuple[Node, Node] | None:
    producer = graph.nodes[node.inputs[0]]
    body = producer.operation
    if not isinstance(body, Weighted | Affine) or not graph.is_only_for(producer.name, node):
        return None
    is_clamped = (body.lowest, body.highest) != (-float("inf"), float("inf"))
    if affine.is_plain:
        new = replace(body, lowest=_limit(body.lowest, affine), highest=_limit(body.highest, affine))
    elif is_clamped or len(producer.inputs) > 1:
        return None
    else:
        new = replace(
            body,
            multiplier=body.multiplier * affine.multiplier,
            addend=body.addend * affine.multiplier + affine.addend,
            lowest=affine.lowest,
            highest=affine.highest,
        )
    return producer, _in_place_of(node, producer, new, producer.inputs)


def _merged_sum(graph: Graph, node: Node, affine: Affine) -> tuple[Node, Node] | None:
    """Takes in one of the two terms: the later convolution, so that the other term is there when it runs."""
    if not affine.is_plain:
        return None
    order = list(graph.nodes)
    terms = sorted(node.inputs, key=order.index, reverse=True)
    for kind in (Weighted, Affine):
        for name in terms:
            producer = graph.nodes[name]
            body = producer.operation
            if not isinstance(body, kind) or len(producer.inputs) > 1 or not graph.is_only_for(name, node):
                continue
            if (body.lowest, body.highest) != (-float("inf"), float("inf")):
                continue
            other = terms[1 - terms.index(name)]
            new = replace(body, lowest=affine.lowest, highest=affine.highest)
            return producer, _in_place_of(node, producer, new, (*producer.inputs, other))
    return None


def _merged_moves(graph: Graph, node: Node) -> tuple[Node, Node] | None:
    """Merges a move that keeps everything (padding) into the move before it (slicing)."""
    outer, producer = node.operation, graph.nodes[node.inputs[0]]
    inner = producer.operation
    if not (isinstance(outer, Move) and isinstance(inner, Move) and graph.is_only_for(producer.name, node)):
        return None
    if outer.size != producer.shape or outer.stride != (1, 1):
        return None
    begin = tuple(a + b for a, b in zip(inner.target_first, outer.target_first, strict=True))
    new = replace(inner, target_first=(begin[0], begin[1], begin[2]))
    return producer, Node(node.name, node.label, new, producer.inputs, node.shape)


def _in_place_of(node: Node, producer: Node, operation: Weighted | Affine, inputs: tuple[str, ...]) -> Node:
    label = producer.label if isinstance(operation, Weighted) else node.label
    return Node(node.name, label, operation, inputs, node.shape)


def _limit(value: float, affine: Affine) -> float:
    return min(max(value, affine.lowest), affine.highest)
