"""What one inference of ResNet20 would cost with each operator: as publications charge it, and with everything charged.

    python benchmarks/hardware.py [--only NAME ...] [--guide]

Width 16, one 3x32x32 image, untrained: the model needs the structure only. All layers become the operator but the first
convolution and the last linear layer; weights have 4 bits, those of DenseShift and S3 3. ``--guide`` puts the table into
docs/hardware.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dsnn_hpo.energy.hardware import HardwareEnergy, MemoryModel, hardware_energy, load_table
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import (
    OPERATORS,
    ShiftConfig,
    convert_,
    count_operations,
    keep_first,
    keep_last,
    matching,
    operator,
)

GUIDE = Path(__file__).parents[1] / "docs" / "hardware.md"
BEGIN, END = "<!-- from benchmarks/hardware.py -->\n", "<!-- end -->\n"
SHAPE = (3, 32, 32)
FLOAT = "conv"
HONEST, PAPER = "horowitz-45nm", "paper-compatible"
THREE_BITS = ("dense_shift", "s3")


@dataclass(frozen=True, slots=True)
class Row:
    """One network: what it costs as publications charge, with everything charged, and on an array."""

    name: str
    paper_uj: float
    arithmetic_uj: float
    memory_uj: float
    array_uj: float

    @property
    def honest_uj(self) -> float:
        """Returns the energy with everything charged."""
        return self.arithmetic_uj + self.memory_uj


def network_of(name: str) -> nn.Module:
    """Returns ResNet20 with an operator."""
    torch.manual_seed(0)
    network = build_model("resnet20", SHAPE, 10, {"width": 16})
    chosen = operator(name, ShiftConfig(weight_bits=3 if name in THREE_BITS else 4))
    if chosen is None:
        return network
    return convert_(network, keep_last(keep_first(matching("*", chosen), network), network), from_trained=False)


def row_of(name: str, *, frozen: bool = True) -> Row:
    """Returns the row of an operator; not frozen, all but the publications' energy is of the network in float32."""
    network = network_of(name)
    as_it_is = count_operations(network, SHAPE)
    counts = count_operations(network, SHAPE, activation_bits=8) if frozen else as_it_is

    def honest(memory: MemoryModel) -> HardwareEnergy:
        return hardware_energy(counts, load_table(HONEST), memory)

    arithmetic = honest("none").total_uj
    return Row(
        name if frozen else f"{name}, float32",
        hardware_energy(as_it_is, load_table(PAPER)).total_uj,
        arithmetic,
        honest("flat").total_uj - arithmetic,
        honest("row_stationary").total_uj,
    )


def table_of(rows: Sequence[Row], base: Row) -> str:
    """Returns the rows in Markdown; the factors are how many times less than ``base`` an operator takes."""
    lines = [
        "| operator | as published, µJ | less by | arithmetic | memory | everything, µJ | less by | on an array, µJ | less by |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| `{row.name}` | {row.paper_uj:.1f} | {base.paper_uj / row.paper_uj:.1f} | {row.arithmetic_uj:.1f} | "
            f"{row.memory_uj:.1f} | {row.honest_uj:.1f} | {base.honest_uj / row.honest_uj:.2f} | {row.array_uj:.0f} | "
            f"{base.array_uj / row.array_uj:.2f} |"
        )
    return "\n".join(lines) + "\n"


def update_guide(table: str) -> None:
    """Returns nothing; puts the table between its marks in the guide."""
    text = GUIDE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END, 1)[1]
    GUIDE.write_text(before + BEGIN + table + END + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(OPERATORS), default=list(OPERATORS), metavar="NAME")
    parser.add_argument("--guide", action="store_true", help="put the table into docs/hardware.md")
    arguments = parser.parse_args()
    base = row_of(FLOAT)
    rows = [row_of(FLOAT, frozen=False), base, *(row_of(name) for name in arguments.only if name != FLOAT)]
    table = table_of(rows, base)
    print(table)
    if arguments.guide:
        update_guide(table)


if __name__ == "__main__":
    main()
