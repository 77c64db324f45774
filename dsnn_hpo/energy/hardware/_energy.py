"""The energy of an inference on a target: counts times costs, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from dsnn_hpo.energy.hardware._row_stationary import array_energy
from dsnn_hpo.energy.hardware._table import EnergyTable, Figure, FlatMemory, MemoryLevel, RowStationary
from dsnn_hpo.errors import InputError, one_of
from dsnn_hpo.operators import LayerCounts, NetworkCounts, NumberKind, Operation

MemoryModel = Literal["flat", "row_stationary", "none"]
"""How moved bytes are charged: each once, at the price of its memory; on an array with reuse; or not at all."""

_UJ_PER_PJ = 1e-6


@dataclass(frozen=True, slots=True)
class LayerEnergy:
    """What one call of a layer costs, in microjoules.

    Attributes:
        name: the layer's, as in ``LayerCounts``.
        operator: the same.
        compute_uj: its terms: products, shifts and sign flips, distances, comparisons; and all else that it computes.
        accumulate_uj: adding its terms up.
        weight_memory_uj: moving its weights.
        activation_memory_uj: moving its inputs, outputs and unfinished sums.
    """

    name: str
    operator: str
    compute_uj: float
    accumulate_uj: float
    weight_memory_uj: float
    activation_memory_uj: float

    @property
    def total_uj(self) -> float:
        """Returns the sum of the four."""
        return self.compute_uj + self.accumulate_uj + self.weight_memory_uj + self.activation_memory_uj


@dataclass(frozen=True, slots=True)
class HardwareEnergy:
    """The modelled energy of one inference.

    Attributes:
        table: name and version of the table, and the technology it is about.
        memory: the model of the memory.
        layers: a row a call, in order of execution.
        unverified: the figures that the total rests on and that nobody has read in their source, one line each:
            estimates, figures from memory, and those derived from another width.
        left_out: what the total does not contain, one line each.
    """

    table: str
    memory: MemoryModel
    layers: tuple[LayerEnergy, ...]
    unverified: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def total_uj(self) -> float:
        """Returns the energy of all layers in microjoules."""
        return sum(layer.total_uj for layer in self.layers)

    def __str__(self) -> str:
        """Returns a table in Markdown, a row a call and their sums, and what the total rests on and leaves out."""
        header = ("layer", "operator", "compute", "accumulation", "weights moved", "activations moved", "total, uJ")
        rows = [(layer.name, layer.operator, *(f"{value:.4f}" for value in _amounts(layer))) for layer in self.layers]
        sums = tuple(map(sum, zip(*map(_amounts, self.layers), strict=True)))
        total = ("total", "", *(f"{value:.4f}" for value in sums))
        lines = [header, ("---", "---", *["---:"] * 5), *rows, total]
        notes = [f"Modelled, not measured: {self.table}; memory: {self.memory}."]
        notes += [f"- left out: {line}" for line in self.left_out]
        notes += [f"- never verified: {line}" for line in self.unverified]
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", *notes])


def hardware_energy(counts: NetworkCounts, table: EnergyTable, memory: MemoryModel = "flat") -> HardwareEnergy:
    """Returns the modelled energy of one inference; a pure function, the same before training as after it.

    With one exception: where ``table.skips_zeros``, terms with a weight of zero cost nothing, and training decides on zeros.

    Args:
        counts: of the network as the table wants it: ``count_operations(network, shape,
            activation_bits=table.activation_bits)``.
        table: see ``load_table``.
        memory: "flat" charges each byte that a layer reads or writes once; a table without memories leaves it out, which
            ``left_out`` says. "row_stationary" models reuse in an array like Eyeriss. "none" charges operations only.

    Raises:
        InputError: the table has no cost of an operation or width that occurs, or no array; no memory of it holds the
            weights or activations; no tiling fits the array.
    """
    if memory not in get_args(MemoryModel):
        raise InputError(f"no model of memory {one_of(memory, get_args(MemoryModel))}")
    ledger = _Ledger(table)
    moved, left_out = _memory(memory, counts, ledger)
    layers = []
    for layer in counts.layers:
        compute_pj, accumulate_pj = _arithmetic(layer, ledger)
        energies_pj = (compute_pj, accumulate_pj, *moved(layer))
        layers.append(LayerEnergy(layer.name, layer.operator, *(pj * _UJ_PER_PJ for pj in energies_pj)))
    about = f"{table.name} version {table.version}, {table.technology}"
    return HardwareEnergy(about, memory, tuple(layers), tuple(ledger.unverified), left_out)


class _Ledger:
    """Looks costs up, and remembers those that were never verified."""

    def __init__(self, table: EnergyTable) -> None:
        self.table = table
        self.unverified: dict[str, None] = {}

    def of_operation(self, operation: Operation, bits: int, kind: NumberKind) -> float:
        """Returns the picojoules of one operation."""
        figure = self.table.cost(operation, bits, kind)
        return self.of(figure, f"{operation.replace('_', ' ')}, {bits}-bit {kind}", "")

    def of(self, figure: Figure, what: str, unit: str = " a byte") -> float:
        """Returns the picojoules of a figure."""
        if not figure.verified:
            self.unverified[f"{what}: {figure.pj:.4g} pJ{unit} ({figure.source})"] = None
        return figure.pj


_ACCUMULATES: Mapping[str, tuple[Operation, ...]] = {
    **dict.fromkeys(("conv", "linear"), ("multiplication",)),
    **dict.fromkeys(("shift_q", "shift_ps", "dense_shift", "s3", "two_term", "fixed_shift"), ("shift",)),
    **dict.fromkeys(("adder", "winograd_adder"), ("absolute_value",)),
    "min_conv": ("comparison",),
    **dict.fromkeys(("mean", "mean_pool", "sum"), ("addition",)),
}
"""The operation that takes place once a term: as many additions, the widest, add the terms up."""


def _arithmetic(layer: LayerCounts, ledger: _Ledger) -> tuple[float, float]:
    """Returns the picojoules of a layer's operations without and with those that add its terms up."""
    table = ledger.table
    n_zeros = layer.n_zero_terms if table.skips_zeros else 0
    n_sums = sum(map(layer.n, _ACCUMULATES.get(layer.operator, ()))) - n_zeros
    compute_pj = accumulate_pj = 0.0
    for count in sorted(layer.operations, key=lambda count: -count.bits):
        if not table.charges(layer.operator, count.operation):
            continue
        pj = ledger.of_operation(count.operation, count.bits, count.kind)
        # Only shift layers have zeros: a shift, a sign flip and an addition each, all of one width.
        n = count.n - n_zeros
        n_adding = min(n, n_sums) if count.operation == "addition" else 0
        n_sums -= n_adding
        accumulate_pj += n_adding * pj
        compute_pj += (n - n_adding) * pj
    return compute_pj, accumulate_pj


_Moved = Callable[[LayerCounts], tuple[float, float]]
"""Given a layer, returns the picojoules of moving its weights, and its activations."""


def _memory(model: MemoryModel, counts: NetworkCounts, ledger: _Ledger) -> tuple[_Moved, tuple[str, ...]]:
    """Returns the model of the memory, and what it leaves out."""
    table = ledger.table
    if model == "row_stationary":
        if table.row_stationary is None:
            raise InputError(
                f"energy table {table.name!r} describes no array, which memory 'row_stationary' is about: add a section "
                "`row_stationary`, or use memory 'flat'"
            )
        return _on_array(table.row_stationary, ledger), ()
    if model == "none":
        return lambda _layer: (0.0, 0.0), ("memory, as was asked for",)
    if table.memory is None:
        return lambda _layer: (0.0, 0.0), ("memory, which the table has no figures of",)
    return _flat(table.memory, counts, ledger), ()


def _flat(memory: FlatMemory, counts: NetworkCounts, ledger: _Ledger) -> _Moved:
    largest = max((_moved_bytes(layer, memory.fused) for layer in counts.layers), default=0)
    weights = _level(memory, "weights", memory.weights, counts.weight_bytes)
    activations = _level(memory, "activations", memory.activations, largest)
    weight_pj, activation_pj = (ledger.of(level.cost, level.name) for level in (weights, activations))
    return lambda layer: (layer.weight_bytes * weight_pj, _moved_bytes(layer, memory.fused) * activation_pj)


def _level(memory: FlatMemory, what: str, choice: str, n_bytes: int) -> MemoryLevel:
    level = memory.level(choice, n_bytes)
    if level is None:
        raise InputError(
            f"no memory of the energy table holds the {n_bytes:,} bytes of {what}: add one without size_bytes, which holds "
            "any number, under memory.levels"
        )
    return level


def _on_array(array: RowStationary, ledger: _Ledger) -> _Moved:
    for name in ("dram", "buffer", "array", "register", "weight_register"):
        ledger.of(getattr(array, name), f"row-stationary {name.replace('_', ' ')}")

    def moved(layer: LayerCounts) -> tuple[float, float]:
        if layer.convolution is not None or layer.operator == "conv":
            return array_energy(layer, array)
        # Through DRAM and the buffer, each way.
        each_pj = array.dram.pj + array.buffer.pj
        return layer.weight_bytes * each_pj, _moved_bytes(layer, array.fused) * each_pj

    return moved


def _moved_bytes(layer: LayerCounts, fused: Collection[str]) -> int:
    """Returns the bytes of activations that a layer reads and writes; none where it is done as they are written."""
    return 0 if layer.operator in fused else layer.read_bytes + layer.written_bytes


def _amounts(layer: LayerEnergy) -> tuple[float, ...]:
    return (
        layer.compute_uj,
        layer.accumulate_uj,
        layer.weight_memory_uj,
        layer.activation_memory_uj,
        layer.total_uj,
    )
