"""The README's table of what the kernels gain, made from the benchmark's rows."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kernel_peers import DEEPSHIFT, INT8_CONV, INT8_LINEAR, LIMIT, MKL

ROOT = Path(__file__).parents[1]
ROWS_FILE = ROOT / "benchmarks" / "kernels.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- from benchmarks/kernels.json -->\n", "<!-- end -->\n"
COLUMNS = ("float32, MKL-prepacked", "fastest float32", "torch 8-bit", "DeepShift's scheme", "of the limit")


@dataclass(frozen=True, slots=True)
class Row:
    """A ratio: the peer's time over ours."""

    work: str
    peer: str
    threads: int
    ratio: float

    @staticmethod
    def to_json(rows: Sequence[Row]) -> str:
        """Returns the rows as a JSON list."""
        return json.dumps([asdict(row) for row in rows], indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> list[Row]:
        """Returns the rows of a JSON list."""
        return [Row(**row) for row in json.loads(text)]


def saved_rows() -> list[Row]:
    """Returns the rows that lie beside the benchmark."""
    return Row.from_json(ROWS_FILE.read_text(encoding="utf-8"))


def merged(before: Sequence[Row], rows: Sequence[Row], order: Sequence[str]) -> list[Row]:
    """Returns new rows and, of works that they do not measure on as many threads, the rows before; works in an order.

    Works that are not in the order are left out: the benchmark has them no more.
    """
    measured = {(row.work, row.threads) for row in rows}
    kept = [row for row in before if (row.work, row.threads) not in measured and row.work in order]
    return sorted([*kept, *rows], key=lambda row: (row.threads, order.index(row.work)))


def table(rows: Sequence[Row]) -> str:
    """Returns a Markdown table: a line a work, each cell the ratios on 1 and on 2 threads."""
    lines = [f"| 4-bit weights; adders | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
    for work in dict.fromkeys(row.work for row in rows):
        of_work = [row for row in rows if row.work == work]
        lines.append(f"| {work} | {' | '.join(_cell(of_work, column) for column in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def update_readme(rows: Sequence[Row], machine: str) -> None:
    """Writes the rows beside the benchmark and their table, with the machine's name, into the README."""
    ROWS_FILE.write_text(Row.to_json(rows), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}On {machine}:\n\n{table(rows)}{END}{after}", encoding="utf-8")


def processor() -> str:
    """Returns the processor's name; its family and model too, since virtual machines shorten the name."""
    info = Path("/proc/cpuinfo")
    pattern = r"cpu family\s*: (\d+)\nmodel\s*: (\d+)\nmodel name\s*: (.*)"
    found = re.search(pattern, info.read_text()) if info.exists() else None
    return f"{found[3]} (family {found[1]}, model {found[2]})" if found else platform.processor() or platform.machine()


def _cell(rows: Sequence[Row], column: str) -> str:
    cells = []
    for threads in sorted({row.threads for row in rows}):
        fitting = [row.ratio for row in rows if row.threads == threads and column in _columns(row.peer)]
        if fitting:
            cells.append(f"{100 * min(fitting):.0f} %" if column == "of the limit" else f"{_short(min(fitting))}×")
    return " / ".join(cells)


def _columns(peer: str) -> tuple[str, ...]:
    if peer in (INT8_LINEAR, INT8_CONV):
        return ("torch 8-bit",)
    if peer == DEEPSHIFT:
        return ("DeepShift's scheme",)
    if peer == LIMIT:
        return ("of the limit",)
    return ("float32, MKL-prepacked", "fastest float32") if peer == MKL else ("fastest float32",)


def _short(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"
