"""What a call of a layer takes, by the type of the layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dsnn_hpo.errors import InputError
from dsnn_hpo.operators._fixed_point import FixedPoint
from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLinear
from dsnn_hpo.operators._work import Numbers, OperationCount


@dataclass(frozen=True, slots=True)
class LayerCall:
    """A call of a layer: its input and output for one sample, its numbers, and those of scales by channel."""

    module: Any
    x: Tensor
    y: Tensor
    numbers: Numbers
    scaling: Numbers

    @property
    def n_terms(self) -> int:
        """Returns how many pairs of activation and weight the sums of all outputs have, those of padding among them."""
        return self.n_terms_with(self.module.weight)

    def n_terms_with(self, weight: Tensor) -> int:
        """Returns the same for a weight that has an output's terms in each row."""
        return self.y.numel() * (weight.numel() // len(weight))


@dataclass(frozen=True, slots=True)
class LayerWork:
    """An operator's name, what a call of it takes, and how many terms of its sums have a weight of zero."""

    operator: str
    operations: list[OperationCount]
    n_zero_terms: int = 0


def rule_of(module: nn.Module) -> Callable[[LayerCall], LayerWork] | None:
    """Returns how calls of the module are counted, as a whole; None where what it calls is counted instead.

    Subclasses are not taken for what they inherit from, since their arithmetic may differ.
    """
    return _RULES.get(type(module))


def layer_names() -> str:
    """Returns the names of the layers that are counted as a whole."""
    return ", ".join(sorted(layer.__name__ for layer in _RULES))


def _products(operator: str) -> Callable[[LayerCall], LayerWork]:
    def rule(call: LayerCall) -> LayerWork:
        n = call.n_terms
        return LayerWork(operator, call.numbers.count(n, "multiplication") + call.numbers.sums(n))

    return rule


def _shifts(call: LayerCall) -> LayerWork:
    module = call.module
    with torch.no_grad():
        terms = module.scheme.terms(module.held)
    n = sum(call.n_terms_with(term) for term in terms)
    n_outputs_each = call.y.numel() // len(terms[0])
    n_zero_terms = sum(int((term == 0).sum()) for term in terms) * n_outputs_each
    operations = call.numbers.count(n, "shift", "sign_flip") + call.numbers.sums(n)
    return LayerWork(_SHIFT_OPERATORS[module.config.shift_type], operations, n_zero_terms)


def _batch_norm(call: LayerCall) -> LayerWork:
    if call.module.running_mean is None:
        raise InputError(
            "cannot count a batch normalisation without running statistics: it computes them from each batch; "
            "make it with track_running_stats=True"
        )
    return LayerWork("batch_norm", call.scaling.count(call.y.numel(), "multiplication", "addition"))


_SHIFT_OPERATORS = {
    "Q": "shift_q",
    "PS": "shift_ps",
    "dense": "dense_shift",
    "s3": "s3",
    "two_term": "two_term",
    "fixed": "fixed_shift",
}

_RULES: dict[type[nn.Module], Callable[[LayerCall], LayerWork]] = {
    nn.Conv1d: _products("conv"),
    nn.Conv2d: _products("conv"),
    nn.Conv3d: _products("conv"),
    nn.Linear: _products("linear"),
    ShiftConv2d: _shifts,
    ShiftLinear: _shifts,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    FixedPoint: lambda _call: LayerWork("fixed_point", []),
}
