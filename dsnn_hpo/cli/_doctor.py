"""What `dsnn-hpo doctor` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from dsnn_hpo.cli._console import console

if TYPE_CHECKING:
    from dsnn_hpo.experiment import Finding

_SIGNS = {"ok": ("✓", "green"), "lack": ("✗", "red"), "note": ("·", "yellow")}


def print_findings(findings: Sequence[Finding]) -> None:
    """Prints a line for each finding, below its part, and below a lack the line that mends it."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    part = ""
    for finding in findings:
        sign, style = _SIGNS[finding.state]
        table.add_row(finding.part if finding.part != part else "", Text(sign, style=style), Text(finding.says))
        if finding.mend:
            table.add_row("", "", Text(f"mend: {finding.mend}", style="dim"))
        part = finding.part
    console().print(table)
