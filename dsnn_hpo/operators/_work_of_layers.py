"""What a call of a layer takes, by the type of the layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dsnn_hpo.errors import InputError
from dsnn_hpo.operators._adder import AdderConv2d, AdderLinear
from dsnn_hpo.operators._fixed_point import FixedPoint
from dsnn_hpo.operators._min_conv import MinConv2d, MinLinear
from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLinear
from dsnn_hpo.operators._spatial_shift import SpatialShift2d
from dsnn_hpo.operators._winograd_adder import WinogradAdderConv2d
from dsnn_hpo.operators._work import Convolution, Numbers, OperationCount


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
    """An operator's name, what a call of it takes, how many terms have a weight of zero, and the loops of its sums."""

    operator: str
    operations: list[OperationCount]
    n_zero_terms: int = 0
    convolution: Convolution | None = None


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
        operations = call.numbers.count(n, "multiplication") + call.numbers.sums(n)
        return LayerWork(operator, operations, convolution=_loops(call, call.numbers.bits))

    return rule


def _shifts(call: LayerCall) -> LayerWork:
    module = call.module
    with torch.no_grad():
        terms = module.scheme.terms(module.held)
    n = sum(call.n_terms_with(term) for term in terms)
    n_outputs_each = call.y.numel() // len(terms[0])
    n_zero_terms = sum(int((term == 0).sum()) for term in terms) * n_outputs_each
    operations = call.numbers.count(n, "shift", "sign_flip") + call.numbers.sums(n)
    loops = _loops(call, module.scheme.code_bits)
    return LayerWork(_SHIFT_OPERATORS[module.config.shift_type], operations, n_zero_terms, loops)


def _distances(n: int, numbers: Numbers) -> list[OperationCount]:
    return numbers.count(n, "addition", "absolute_value") + numbers.sums(n)


def _adder(call: LayerCall) -> LayerWork:
    return LayerWork("adder", _distances(call.n_terms, call.numbers), convolution=_loops(call, call.numbers.bits))


def _winograd_adder(call: LayerCall) -> LayerWork:
    module, numbers = call.module, call.numbers
    (n_in, *_), (n_out, height, width) = call.x.shape[1:], call.y.shape[1:]
    tiles = (-(-height // 2), -(-width // 2))
    n_tiles = tiles[0] * tiles[1]
    # A transformed activation is a sum of four.
    wider = Numbers(numbers.kind, min(numbers.bits + 2, numbers.sum_bits), numbers.sum_bits)
    operations = (
        wider.count(_INPUT_TRANSFORM * n_tiles * n_in, "addition")
        + _distances(n_tiles * module.weight.numel(), wider)
        + numbers.sums(_OUTPUT_TRANSFORM * n_tiles * n_out + (0 if module.bias is None else n_out * height * width))
    )
    loops = Convolution(
        groups=_PLACES,
        channels=(_PLACES * n_in, _PLACES * n_out),
        kernel_size=(1, 1),
        stride=(1, 1),
        dilation=(1, 1),
        input_size=tiles,
        output_size=tiles,
        activation_bits=wider.bits,
        weight_bits=numbers.bits,
        sum_bits=numbers.sum_bits,
    )
    return LayerWork("winograd_adder", operations, convolution=loops)


def _minima(call: LayerCall) -> LayerWork:
    n, n_inputs, numbers = call.n_terms, call.x.numel(), call.numbers
    inputs = numbers.count(n_inputs, "shift", "absolute_value")
    operations = [*inputs, *numbers.count(n, "comparison", "sign_flip"), *numbers.sums(n)]
    return LayerWork("min_conv", operations, convolution=_loops(call, numbers.bits))


def _batch_norm(call: LayerCall) -> LayerWork:
    if call.module.running_mean is None:
        raise InputError(
            "cannot count a batch normalisation without running statistics: it computes them from each batch; "
            "make it with track_running_stats=True"
        )
    return LayerWork("batch_norm", call.scaling.count(call.y.numel(), "multiplication", "addition"))


def _loops(call: LayerCall, weight_bits: int) -> Convolution | None:
    """Returns the loops of a linear layer, or of a convolution along one or two dimensions; None along three."""
    module, x, y = call.module, call.x, call.y
    widths = (call.numbers.bits, weight_bits, call.numbers.sum_bits)
    if not hasattr(module, "kernel_size"):
        rows = (y.numel() // y.shape[-1], 1)
        return Convolution(1, (x.shape[-1], y.shape[-1]), (1, 1), (1, 1), (1, 1), rows, rows, *widths)
    if x.dim() > _IMAGE_DIMENSIONS:
        return None
    channels = (x.shape[1], y.shape[1])
    moves = (_pair(module.kernel_size), _pair(module.stride), _pair(module.dilation))
    return Convolution(module.groups, channels, *moves, _pair(x.shape[2:]), _pair(y.shape[2:]), *widths)


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    """Returns height and width; what has one dimension is one row."""
    return (1, *sizes)[-2], sizes[-1]


_IMAGE_DIMENSIONS = 4

_PLACES = 16
"""Numbers of a tile of 4x4 in the Winograd domain."""

_INPUT_TRANSFORM = 32
"""Additions of B' d B a tile and channel: 16 numbers, each the sum of two, in each of two steps."""

_OUTPUT_TRANSFORM = 24
"""Additions of A' m A a tile and channel: 8 numbers and then 4, each the sum of three."""

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
    AdderConv2d: _adder,
    AdderLinear: _adder,
    WinogradAdderConv2d: _winograd_adder,
    MinConv2d: _minima,
    MinLinear: _minima,
    SpatialShift2d: lambda _call: LayerWork("spatial_shift", []),
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    FixedPoint: lambda _call: LayerWork("fixed_point", []),
}
