"""The vocabulary of counting: elementary operations, the numbers that they work on, and how many of them a call takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

Operation = Literal["multiplication", "addition", "shift", "comparison", "sign_flip", "absolute_value"]
"""An elementary operation; a subtraction is an addition."""

NumberKind = Literal["int", "float"]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)

SUM_BITS = 32
"""The width of integer sums, as in the kernels of this package."""


@dataclass(frozen=True, slots=True)
class OperationCount:
    """How many times an operation takes place on numbers of a width and kind: what a table of energies is asked for."""

    operation: Operation
    bits: int
    kind: NumberKind
    n: int


@dataclass(frozen=True, slots=True)
class Convolution:
    """The loops of a layer whose outputs are sums over a window: what a model of reuse in hardware is asked for.

    A linear layer is a 1x1 convolution of an image one pixel wide, a row for each vector. A Winograd adder is one with 16
    times the groups, a group for each place in a tile, whose pixels are the tiles.

    Attributes:
        groups: groups of channels that do not meet.
        channels: those of input and output, all groups together.
        kernel_size: height and width of the window, as are the other pairs.
        stride: pixels from window to window.
        dilation: pixels from weight to weight.
        input_size: the input without padding.
        output_size: the output.
        activation_bits: the width of an input.
        weight_bits: the width of a packed weight.
        sum_bits: the width of a sum.
    """

    groups: int
    channels: tuple[int, int]
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    activation_bits: int
    weight_bits: int
    sum_bits: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """How a layer's numbers are held: activations, and what they are combined with, in ``bits``; sums in ``sum_bits``."""

    kind: NumberKind
    bits: int
    sum_bits: int

    def count(self, n: int, *operations: Operation) -> list[OperationCount]:
        """Returns ``n`` of each of the operations on activations."""
        return [OperationCount(operation, self.bits, self.kind, n) for operation in operations]

    def sums(self, n: int) -> list[OperationCount]:
        """Returns ``n`` additions to an accumulator."""
        return [OperationCount("addition", self.sum_bits, self.kind, n)]

    def n_bytes(self, n: int) -> int:
        """Returns the bytes of ``n`` activations, rounded up."""
        return (n * self.bits + 7) // 8


def integers(bits: int) -> Numbers:
    """Returns integers of ``bits``, summed in 32 bits."""
    return Numbers("int", bits, SUM_BITS)


def numbers_of(tensor: Tensor) -> Numbers:
    """Returns the numbers of a tensor's dtype; floating-point ones are summed in their own width."""
    bits = tensor.element_size() * 8
    return Numbers("float", bits, bits) if tensor.is_floating_point() else Numbers("int", bits, max(bits, SUM_BITS))


def merged(counts: Iterable[OperationCount]) -> tuple[OperationCount, ...]:
    """Returns the counts, one for each operation, width and kind that occurs, in the order of ``OPERATIONS``."""
    total: Counter[tuple[Operation, int, NumberKind]] = Counter()
    for count in counts:
        total[count.operation, count.bits, count.kind] += count.n
    keys = sorted((key for key, n in total.items() if n), key=lambda key: (OPERATIONS.index(key[0]), key[1:]))
    return tuple(OperationCount(*key, total[key]) for key in keys)
