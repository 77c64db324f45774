"""The tables of docs/operators.md: what is known of each operator, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from dsnn_hpo.operators import Operation

ROOT = Path(__file__).parents[1]
ROWS_FILE = ROOT / "benchmarks" / "operators.json"
GUIDE = ROOT / "docs" / "operators.md"
# What is counted; see dsnn_hpo.operators.count_operations.
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
BEGIN, END = "<!-- from benchmarks/operators.json -->\n", "<!-- end -->\n"
FLOAT = "conv"


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one operator; counts are an inference's, of one image."""

    operator: str
    test_accuracy: float
    integer_accuracy: float
    epoch_s: float
    step_ratio: float
    counts: Mapping[str, int]
    weight_bytes: int
    activation_bytes: int

    @staticmethod
    def to_json(rows: Sequence[Row]) -> str:
        """Returns the rows as a JSON list."""
        return json.dumps([asdict(row) for row in rows], indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> list[Row]:
        """Returns the rows of a JSON list."""
        return [Row(**row) for row in json.loads(text)]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an operator is: its formula, what hardware does a weight and output, and where it comes from."""

    formula: str
    cost: str
    paper: str


FACTS: Mapping[str, Facts] = {
    "conv": Facts("Σ x·w", "multiplication, addition", "float32 baseline"),
    "shift_q": Facts(
        "Σ x·s·2^p, p = round log2|w|",
        "shift, sign flip, addition",
        "[DeepShift-Q](https://arxiv.org/abs/1905.13298), CVPRW 2021",
    ),
    "shift_ps": Facts(
        "Σ x·s·2^p, p = round P, s = sign(round S) or 0",
        "shift, sign flip, addition",
        "[DeepShift-PS](https://arxiv.org/abs/1905.13298), CVPRW 2021",
    ),
    "dense_shift": Facts(
        "Σ x·s·2^k, k from binary factors, no zero",
        "shift, sign flip, addition",
        "[DenseShift](https://arxiv.org/abs/2208.09708), ICCV 2023",
    ),
    "s3": Facts(
        "Σ x·s·v·2^k, v in {0, 1}",
        "shift, sign flip, addition",
        "[S3](https://arxiv.org/abs/2107.03453), NeurIPS 2021",
    ),
    "two_term": Facts(
        "Σ x·(±2^a ± 2^b)",
        "two shifts, two sign flips, two additions",
        "[APoT](https://arxiv.org/abs/1909.13144), ICLR 2020; asked of DeepShift",
    ),
    "fixed_shift": Facts(
        "Σ x·s·2^p, s and p drawn and frozen",
        "shift, sign flip, addition",
        "[ShiftAddNet](https://arxiv.org/abs/2010.12785), NeurIPS 2020",
    ),
    "adder": Facts(
        "−Σ |x − w|",
        "two additions, absolute value",
        "[AdderNet](https://arxiv.org/abs/1912.13200), CVPR 2020",
    ),
    "adder_annealed": Facts(
        "−Σ |x − w|^p, p from 2 to 1 in training",
        "two additions, absolute value",
        "[universal AdderNet](https://arxiv.org/abs/2105.14202), 2021",
    ),
    "winograd_adder": Facts(
        "Aᵀ[−Σ |ŵ − BᵀxB|]A, tiles of 2×2",
        "two additions, absolute value, 4/9 as often",
        "[Winograd AdderNet](https://arxiv.org/abs/2105.05530), ICML 2021",
    ),
    "min_conv": Facts(
        "Σ sgn(x)·sgn(w)·min(|x|, |w|)",
        "comparison, sign flip, addition",
        "[MinConvNets](https://arxiv.org/abs/2101.09492), 2021",
    ),
    "shift_add": Facts(
        "adder(shift(x))",
        "shift, sign flip, addition; then two additions, absolute value",
        "[ShiftAddNet](https://arxiv.org/abs/2010.12785), NeurIPS 2020",
    ),
    "fixed_shift_add": Facts(
        "adder(shift(x)), shift frozen",
        "shift, sign flip, addition; then two additions, absolute value",
        "[ShiftAddNet](https://arxiv.org/abs/2010.12785), NeurIPS 2020",
    ),
    "spatial_shift": Facts(
        "1×1 convolution of channels moved by a pixel",
        "multiplication, addition, 1/9 as often",
        "[Shift](https://arxiv.org/abs/1711.08141), CVPR 2018",
    ),
    "shift_conv": Facts(
        "1×1, spatial shift, 1×1",
        "multiplication, addition",
        "[Shift](https://arxiv.org/abs/1711.08141), CVPR 2018 (ShiftResNet)",
    ),
    "pdp": Facts(
        "1×1, depthwise k×k, 1×1, nothing between",
        "multiplication, addition",
        "[Unifying Tensor View](https://arxiv.org/abs/2312.09922), 2023",
    ),
}


def update_guide(rows: Sequence[Row]) -> None:
    """Writes the rows beside the benchmark and their tables into the guide; rows of other operators stay."""
    known = Row.from_json(ROWS_FILE.read_text(encoding="utf-8")) if ROWS_FILE.exists() else []
    by_name = {row.operator: row for row in [*known, *rows]}
    ordered = [by_name[name] for name in FACTS if name in by_name]
    ROWS_FILE.write_text(Row.to_json(ordered), encoding="utf-8")
    text = GUIDE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    GUIDE.write_text(f"{before}{BEGIN}{tables(ordered)}{END}{after}", encoding="utf-8")


def tables(rows: Sequence[Row]) -> str:
    """Returns two Markdown tables: the operators with their accuracy and cost of training, and their counts."""
    return f"{_overview(rows)}\n{_counts(rows)}"


def _overview(rows: Sequence[Row]) -> str:
    lines = [
        "| operator | formula | hardware, a weight and output | training step, float32 = 1 | epoch | test accuracy | "
        "on integers | paper |",
        "|---|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        facts = FACTS[row.operator]
        # A bar would end the cell.
        formula = facts.formula.replace("|", "&#124;")
        lines.append(
            f"| `{row.operator}` | {formula} | {facts.cost} | {row.step_ratio:.2f} | {row.epoch_s:.1f} s | "
            f"{100 * row.test_accuracy:.2f} % | {100 * row.integer_accuracy:.2f} % | {facts.paper} |"
        )
    return "\n".join(lines) + "\n"


def _counts(rows: Sequence[Row]) -> str:
    names = " | ".join(f"{name.replace('_', ' ')}s" for name in OPERATIONS)
    lines = [f"| operator | {names} | weights | activations moved |", f"|---|{'---:|' * (len(OPERATIONS) + 2)}"]
    for row in rows:
        counts = " | ".join(_millions(row.counts[name]) for name in OPERATIONS)
        sizes = f"{row.weight_bytes / 1024:.1f} KiB | {row.activation_bytes / 1024:.0f} KiB"
        lines.append(f"| `{row.operator}` | {counts} | {sizes} |")
    return "\n".join(lines) + "\n"


def _millions(n: int) -> str:
    return f"{n / 1e6:.3f} M" if n else "0"
