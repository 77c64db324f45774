"""What `dsnn-hpo compare` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from dsnn_hpo.cli._console import console, print_error
from dsnn_hpo.report import Comparison, comparison_tables, comparison_text


def print_comparison(comparison: Comparison, picture: Path | None) -> None:
    """Prints the runs, the groups, coverage and the joint front as tables, and what follows from them."""
    out = console()
    for warning in comparison.warnings:
        print_error(f"warning: {warning}")
    for table in comparison_tables(comparison):
        out.print(_table(table.title, table.header, table.rows))
    for line in comparison_text(comparison):
        out.print(line, markup=False)
    if picture is not None:
        out.print(f"picture: {picture}", markup=False)


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, title=title, title_justify="left")
    for i, name in enumerate(header):
        # Broken by hand: a narrow terminal would otherwise break the numbers too.
        table.add_column(Text(name.replace(" ", "\n")), justify="left" if not i else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
