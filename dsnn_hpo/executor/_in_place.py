"""Which calls of a traced network change, in place, values that are used afterwards."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx


def stale_uses(traced: fx.GraphModule, sample: Tensor) -> dict[fx.Node, tuple[fx.Node, fx.Node]]:
    """Returns, of each call that changes a value with a later use in place, the first such value and its next user.

    Found by evaluating the network on ``sample``: torch counts the changes of a tensor together with those of all its
    views, so that a change through ``flatten(1)``, a slice or an identity is a change of the value too.
    """
    # Tensors made in inference mode have no such count.
    with torch.inference_mode(False), torch.no_grad():
        watch = _Watch(traced)
        watch.run(sample.clone())
    return watch.stale


class _Watch(fx.Interpreter):
    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.stale: dict[fx.Node, tuple[fx.Node, fx.Node]] = {}
        self._positions = {node: position for position, node in enumerate(traced.graph.nodes)}

    def run_node(self, node: fx.Node) -> Any:
        before = {value: _n_changes(tensor) for value, tensor in self.env.items()}
        result = super().run_node(node)
        for value, n_changes in before.items():
            if _n_changes(self.env[value]) != n_changes:
                later = [user for user in value.users if self._positions[user] > self._positions[node]]
                if later:
                    self.stale.setdefault(node, (value, later[0]))
        return result


def _n_changes(value: Any) -> int:
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0
