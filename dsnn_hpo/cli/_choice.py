"""What `dsnn-hpo front` prints when a member is to be chosen."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from dsnn_hpo.cli._console import console
from dsnn_hpo.journal import History
from dsnn_hpo.report import Choice, choice_table, price_lines


def print_choice(history: History, choice: Choice, folder: Path) -> None:
    """Prints the members that keep the limits, the chosen one marked, why it is, what accuracy costs, and what is next."""
    out = console()
    found = choice_table(history, choice)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    for title in found.header:
        table.add_column(title.replace(" ", "\n").replace("_", "_\n"), justify="right", no_wrap=True)
    for row in found.rows:
        # Brackets in a cell are not markup.
        table.add_row(*(Text(cell, style="bold" if row[0] else "") for cell in row))
    out.print(table)
    trial = None if choice.chosen is None else choice.chosen.trial.id
    for line in (choice.why, *price_lines(history, trial), *found.notes):
        out.print(line, markup=False)
    if trial is not None:
        run = shlex.quote(str(folder))
        out.print(f"ship it: dsnn-hpo export {run} {trial} --to {shlex.quote(f'trial{trial}')}", markup=False)
