"""What a finished run prints: its front, where its files lie, and how to look further."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from dsnn_hpo.cli._console import console, print_error
from dsnn_hpo.cli._mlflow import print_links
from dsnn_hpo.experiment import resume_line
from dsnn_hpo.journal import History
from dsnn_hpo.report import FrontTable, PageFiles, front_table, price_lines
from dsnn_hpo.trial import TrialState

if TYPE_CHECKING:
    from dsnn_hpo.experiment import Outcome, RunFolder, SubmittedRun


def print_front(history: History) -> None:
    """Prints the front as a table, with as many of the telling hyperparameters as fit, and what its members share."""
    out = console()
    n_hyperparameters = 6
    front = front_table(history, n_hyperparameters)
    while (table := _table(front)).__rich_measure__(out, out.options).minimum > out.width and n_hyperparameters > 0:
        n_hyperparameters -= 1
        front = front_table(history, n_hyperparameters)
    out.print(f"[bold]{history.header.name}[/]: {front.summary.replace('**', '')}")
    if not front.rows:
        return
    if front.rows:
        out.print(table)
    for note in (*price_lines(history), *front.notes):
        out.print(note, markup=False)


def _table(front: FrontTable) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    for name in front.header:
        # Broken by hand: a narrow terminal would otherwise break the numbers too.
        table.add_column(name.replace(" ", "\n").replace("_", "_\n"), justify="right", no_wrap=True)
    for row in front.rows:
        table.add_row(*row)
    return table


def print_outcome(outcome: Outcome) -> None:
    """Prints the front of a finished run and where to look further."""
    history, folder = outcome.history, outcome.folder
    out = console()
    print_front(history)
    n_failed = sum(r.state is TrialState.FAILED for r in history.results)
    failed = f", {n_failed} failed" if n_failed else ""
    out.print(
        f"{len(history.results)} trials{failed} in {history.running_s:.0f} s; the study used {history.energy_j / 1000:.3g} kJ",
        markup=False,
    )
    if not outcome.mirror.caught_up:
        print_error(
            f"MLflow is behind: {outcome.mirror.reason}; catch up with: {_program()} sync {shlex.quote(str(_relative(folder.path)))}"
        )
    print_places(folder)
    if outcome.links is not None:
        print_links(outcome.links)


def print_places(folder: RunFolder) -> None:
    """Prints where a run's figure lies and the commands that go on from here."""
    out = console()
    out.print(f"figure:  {_relative(folder.report / 'pareto_front.html')}", markup=False)
    if (page := folder.report / "report.html").exists():
        out.print(f"report:  {_relative(page)}", markup=False)
    program, path = _program(), shlex.quote(str(_relative(folder.path)))
    out.print(f"table:   {program} front {path}   (whole configurations: --json)", markup=False)
    out.print(f"browse:  {program} ui {path}", markup=False)


def print_page(files: PageFiles) -> None:
    """Prints where a run's page lies, and its figures."""
    out = console()
    out.print(f"page:    {_relative(files.page)}   (one file; opens without a network)", markup=False)
    if files.figures:
        names = ", ".join(dict.fromkeys(path.stem for path in files.figures))
        out.print(f"figures: {_relative(files.figures[0].parent)}: {names} (.png, .svg)", markup=False)


def print_submitted(run: SubmittedRun) -> None:
    """Prints where a run lies whose driver is a SLURM job, and how to look after it."""
    out = console()
    path = shlex.quote(str(_relative(run.folder.path)))
    out.print(f"driver:  SLURM job {run.driver_id}; its log: {_relative(run.log)}", markup=False)
    out.print(f"status:  {_program()} status {path}", markup=False)
    out.print(f"stop:    scancel {run.driver_id}   (go on with: {resume_line(run.folder.path)})", markup=False)


def _program() -> str:
    """Returns how to call this program again: by name if that is on the PATH, else as it was called now."""
    called = Path(sys.argv[0])
    if shutil.which("dsnn-hpo") or called.name != "dsnn-hpo":
        return "dsnn-hpo"
    return str(_relative(called))


def _relative(path: Path) -> Path:
    resolved, here = path.resolve(), Path.cwd()
    return resolved.relative_to(here) if here in resolved.parents else resolved
