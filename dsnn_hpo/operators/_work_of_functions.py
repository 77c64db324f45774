"""What functions between layers take: sums, activations, pooling, moves; by the ATen operation that each becomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dsnn_hpo.operators._work import Numbers, Operation, OperationCount

SUPPORTED = (
    "sums, differences, products, negation, absolute values, maxima, minima, ReLU, ReLU6, Hardtanh and clamps, max and "
    "average pooling, sums, means and maxima along dimensions, concatenation, padding, shuffles, slices and views"
)

Arguments = Mapping[str, Any]
"""A call's arguments by name, defaults included."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call of an ATen operation outside the layers: arguments, result, and the numbers that it works on."""

    arguments: Arguments
    result: Tensor
    numbers: Numbers
    scaling: Numbers

    @property
    def n(self) -> int:
        """Returns the number of elements of the result."""
        return self.result.numel()


Rule = Callable[[FunctionCall], list[OperationCount]]


@dataclass(frozen=True, slots=True)
class Function:
    """The name under which a function is counted, and what a call of it takes."""

    name: str
    rule: Rule


def function_of(aten_name: str) -> Function | None:
    """Returns how an operation such as ``relu_`` is counted; None where it is not known how."""
    return _FUNCTIONS.get(aten_name.removesuffix("_"))


def is_free(aten_name: str) -> bool:
    """Returns whether an operation neither computes nor moves anything that hardware would have to.

    These are views and new tensors, and copies that only change layout, dtype or device.
    """
    return aten_name.removesuffix("_") in _FREE


def _each(*operations: Operation) -> Rule:
    return lambda call: call.numbers.count(call.n, *operations)


def _sum_of_two(call: FunctionCall) -> list[OperationCount]:
    scaled = call.n if call.arguments.get("alpha", 1) not in (1, -1) else 0
    return call.numbers.count(scaled, "multiplication") + call.numbers.count(call.n, "addition")


def _limits(*names: str) -> Rule:
    """Returns the rule of a clamp: a comparison for each bound that is given and finite."""

    def rule(call: FunctionCall) -> list[OperationCount]:
        bounds = [call.arguments[name] for name in names]
        n_bounds = sum(isinstance(bound, Tensor) or (bound is not None and math.isfinite(bound)) for bound in bounds)
        return call.numbers.count(n_bounds * call.n, "comparison")

    return rule


def _max_pool(call: FunctionCall) -> list[OperationCount]:
    return call.numbers.count((_kernel_elements(call) - 1) * call.n, "comparison")


def _mean_pool(call: FunctionCall) -> list[OperationCount]:
    return _means(call, _kernel_elements(call) * call.n)


def _adaptive_max_pool(call: FunctionCall) -> list[OperationCount]:
    return call.numbers.count(_adaptive_elements(call) - call.n, "comparison")


def _adaptive_mean_pool(call: FunctionCall) -> list[OperationCount]:
    return _means(call, _adaptive_elements(call))


def _mean(call: FunctionCall) -> list[OperationCount]:
    return _means(call, call.arguments["self"].numel())


def _means(call: FunctionCall, n_elements: int) -> list[OperationCount]:
    return call.numbers.sums(n_elements) + call.scaling.count(call.n, "multiplication")


def _sum(call: FunctionCall) -> list[OperationCount]:
    return call.numbers.sums(call.arguments["self"].numel())


def _extremum(call: FunctionCall) -> list[OperationCount]:
    return call.numbers.count(call.arguments["self"].numel() - call.n, "comparison")


def _move(_call: FunctionCall) -> list[OperationCount]:
    return []


def _kernel_elements(call: FunctionCall) -> int:
    kernel = list(call.arguments["kernel_size"])
    return int(kernel[0] * kernel[-1])


def _adaptive_elements(call: FunctionCall) -> int:
    """Returns how many elements the windows of an adaptive pooling have together; neighbours may overlap."""
    before, after = call.arguments["self"].shape[-2:], call.result.shape[-2:]
    lengths = [
        sum(-(-(i + 1) * size // n_out) - i * size // n_out for i in range(n_out))
        for size, n_out in zip(before, after, strict=True)
    ]
    return int(math.prod(lengths) * math.prod(call.result.shape[:-2]))


_FUNCTIONS: dict[str, Function] = {
    "add": Function("add", _sum_of_two),
    "sub": Function("subtract", _sum_of_two),
    "rsub": Function("subtract", _sum_of_two),
    "mul": Function("multiply", _each("multiplication")),
    "neg": Function("negate", _each("sign_flip")),
    "abs": Function("absolute", _each("absolute_value")),
    "maximum": Function("maximum", _each("comparison")),
    "minimum": Function("minimum", _each("comparison")),
    "relu": Function("relu", _each("comparison")),
    "hardtanh": Function("clamp", _limits("min_val", "max_val")),
    "clamp": Function("clamp", _limits("min", "max")),
    "clamp_min": Function("clamp", _limits("min")),
    "clamp_max": Function("clamp", _limits("max")),
    "max_pool2d_with_indices": Function("max_pool", _max_pool),
    "avg_pool2d": Function("mean_pool", _mean_pool),
    "adaptive_max_pool2d": Function("max_pool", _adaptive_max_pool),
    "_adaptive_avg_pool2d": Function("mean_pool", _adaptive_mean_pool),
    "mean": Function("mean", _mean),
    "sum": Function("sum", _sum),
    "amax": Function("maximum", _extremum),
    "amin": Function("minimum", _extremum),
    "cat": Function("concatenate", _move),
    "stack": Function("concatenate", _move),
    "constant_pad_nd": Function("pad", _move),
    "reflection_pad2d": Function("pad", _move),
    "replication_pad2d": Function("pad", _move),
    "roll": Function("shuffle", _move),
    "channel_shuffle": Function("shuffle", _move),
    "pixel_shuffle": Function("shuffle", _move),
    "upsample_nearest2d": Function("upsample", _move),
}

_FREE = frozenset(
    (
        "view", "_unsafe_view", "_reshape_alias", "alias", "as_strided", "expand", "t", "transpose", "permute", "squeeze",
        "unsqueeze", "select", "slice", "split", "split_with_sizes", "unbind", "detach", "clone", "copy", "_to_copy",
        "lift_fresh", "empty", "new_empty", "empty_like", "zeros", "new_zeros", "zeros_like", "ones", "full", "arange",
    )
)  # fmt: skip
