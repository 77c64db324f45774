"""What operations and moved bytes cost on a target: figures, where each comes from, and how far to trust it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from dsnn_hpo.errors import InputError
from dsnn_hpo.operators import NumberKind, Operation

Scaling = Literal["linear", "quadratic"]
"""How a cost grows with the width, where a table has none for it."""

SMALLEST = "smallest"
"""The choice of the smallest memory that holds what it has to."""

_EXPONENTS: Mapping[Scaling, int] = {"linear": 1, "quadratic": 2}


@dataclass(frozen=True, slots=True)
class Figure:
    """A cost in picojoules, of one operation or one byte.

    Attributes:
        pj: picojoules.
        source: the short name of where it was found, a key of the table's ``sources``; for a derived figure, the rule.
        verified: whether somebody read it there; False for an estimate, a figure from memory, and a derived one.
    """

    pj: float
    source: str
    verified: bool


@dataclass(frozen=True, slots=True)
class Costs:
    """What an operation costs by the width of its numbers in bits, and how to get at the widths between."""

    figures: Mapping[int, Figure]
    scaling: Scaling | None

    def at(self, bits: int) -> Figure | None:
        """Returns the figure of a width, None where there is none and no rule either.

        Between two listed widths it lies on the line (linear: over the bits, quadratic: over their square) through both;
        outside, it is in proportion to the nearest.
        """
        if bits in self.figures:
            return self.figures[bits]
        if self.scaling is None:
            return None
        below = max((width for width in self.figures if width < bits), default=None)
        above = min((width for width in self.figures if width > bits), default=None)
        size = bits ** _EXPONENTS[self.scaling]
        if below is None or above is None:
            nearest = next(width for width in (below, above) if width is not None)
            pj = self.figures[nearest].pj * size / nearest ** _EXPONENTS[self.scaling]
            return Figure(pj, f"{self.scaling} from {nearest} bits", verified=False)
        low, high = (width ** _EXPONENTS[self.scaling] for width in (below, above))
        share = (size - low) / (high - low)
        pj = self.figures[below].pj * (1 - share) + self.figures[above].pj * share
        return Figure(pj, f"{self.scaling} between {below} and {above} bits", verified=False)


@dataclass(frozen=True, slots=True)
class MemoryLevel:
    """A memory: its name, how many bytes it holds (None: any number), and what moving one byte costs."""

    name: str
    size_bytes: int | None
    cost: Figure


@dataclass(frozen=True, slots=True)
class FlatMemory:
    """Memories without reuse: each byte that a layer reads or writes is moved once, at one price.

    Attributes:
        levels: the memories, as listed.
        weights: the name of the one that all weights lie in, or "smallest": the smallest that holds them all.
        activations: the same for activations; "smallest" is the one that holds the largest layer's input and output.
        fused: operators that work on a value before it is written, so that they move no activations.
    """

    levels: tuple[MemoryLevel, ...]
    weights: str
    activations: str
    fused: Collection[str]

    def level(self, choice: str, n_bytes: int) -> MemoryLevel | None:
        """Returns the memory that a choice means for so many bytes; None if none is large enough."""
        if choice != SMALLEST:
            return next(level for level in self.levels if level.name == choice)
        holding = [level for level in self.levels if level.size_bytes is None or level.size_bytes >= n_bytes]
        return min(holding, key=_size, default=None)


def _size(level: MemoryLevel) -> float:
    return float("inf") if level.size_bytes is None else level.size_bytes


@dataclass(frozen=True, slots=True)
class RowStationary:
    """An array of processing elements that keeps rows of the filter where they are (Eyeriss: Chen et al., ISCA 2016).

    Attributes:
        n_elements: processing elements.
        input_register_bytes: what an element's registers hold of the input.
        weight_register_bytes: the same of weights.
        sum_register_bytes: the same of sums.
        buffer_bytes: the buffer that all elements share.
        dram: what moving one byte to or from DRAM costs.
        buffer: the same for the buffer.
        array: the same from element to element, and from the buffer to the elements.
        register: the same for an element's registers of inputs and sums.
        weight_register: the same for those of weights, which are larger.
        fused: operators that move no activations, as in ``FlatMemory``.
    """

    n_elements: int
    input_register_bytes: int
    weight_register_bytes: int
    sum_register_bytes: int
    buffer_bytes: int
    dram: Figure
    buffer: Figure
    array: Figure
    register: Figure
    weight_register: Figure
    fused: frozenset[str]


@dataclass(frozen=True, slots=True)
class EnergyTable:
    """What a target's operations and memories cost.

    Attributes:
        name: what it is called; for a user's table, what its file says.
        version: grows with each change of a figure or rule: energies of different versions don't compare.
        technology: process and voltage, or the device.
        description: what it charges and what it leaves out.
        sources: citations by short name.
        activation_bits: how a network has to be counted for it, see ``count_operations``; None: as it is, not frozen.
        skips_zeros: whether terms with a weight of zero cost nothing.
        charged: the operations that count, by operator; operators that are not in it cost nothing. None: all count.
        costs: by kind of number and operation.
        memory: the flat model's memories, None for a table without.
        row_stationary: the array, None for a table without.
    """

    name: str
    version: int
    technology: str
    description: str
    sources: Mapping[str, str]
    activation_bits: int | None
    skips_zeros: bool
    charged: Mapping[str, Collection[Operation]] | None
    costs: Mapping[tuple[NumberKind, Operation], Costs]
    memory: FlatMemory | None
    row_stationary: RowStationary | None

    def charges(self, operator: str, operation: Operation) -> bool:
        """Returns whether an operation of a layer of that operator costs anything."""
        return self.charged is None or operation in self.charged.get(operator, ())

    def cost(self, operation: Operation, bits: int, kind: NumberKind) -> Figure:
        """Returns what one operation on numbers of a width and kind costs; raises InputError where the table says nothing."""
        costs = self.costs.get((kind, operation))
        if costs is None:
            has = ", ".join(f"{listed} ({of})" for of, listed in self.costs) or "none"
            raise InputError(
                f"energy table {self.name!r} has no cost of {operation} on {kind}, which the network needs: "
                f"add operations.{kind}.{operation}, or count the network as frozen, with activation_bits, where all but "
                f"scales are integers; the table has {has}"
            )
        figure = costs.at(bits)
        if figure is None:
            raise InputError(
                f"energy table {self.name!r} has no cost of {operation} on {bits}-bit {kind}, which the network needs: "
                f"operations.{kind}.{operation} lists {', '.join(map(str, sorted(costs.figures)))} bits; add {bits}, or "
                "`scaling: linear` or `scaling: quadratic`"
            )
        return figure
