"""What a finished run prints: its front, where its files lie, and how to look further."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from dsnn_hpo.cli._console import console, print_error
from dsnn_hpo.experiment import Outcome, RunFolder
from dsnn_hpo.journal import History
from dsnn_hpo.trial import TrialState


def front_table(history: History) -> Table:
    """Returns the front as a table: trial, objectives, test values, and the hyperparameters in which members differ."""
    members = history.front()
    fidelity = history.front_fidelity
    table = Table(title=f"Pareto front of {history.header.name} at {fidelity} epochs", title_justify="left")
    tested = sorted({name for member in members for name in member.test_values})
    columns = [(o.name, o.unit) for o in history.objectives]
    varied = _varied([dict(member.trial.config) for member in members])
    table.add_column("trial", justify="right")
    for name, unit in columns:
        table.add_column(name if unit == "1" else f"{name}\n({unit})", justify="right")
    for name in tested:
        table.add_column(f"{name}\n(test)", justify="right")
    table.add_column("configuration", overflow="fold")
    for member in members:
        table.add_row(
            str(member.trial.id),
            *(f"{member.values[name]:.4g}" for name, _ in columns),
            *(f"{member.test_values[name]:.4g}" for name in tested),
            ", ".join(f"{k}={_short(v)}" for k, v in member.trial.config.items() if k in varied),
        )
    return table


def print_outcome(outcome: Outcome) -> None:
    """Prints the front of a finished run and where to look further."""
    history, folder = outcome.history, outcome.folder
    out = console()
    out.print(front_table(history))
    n_failed = sum(r.state is TrialState.FAILED for r in history.results)
    energy_kj = sum(r.energy_j for r in history.results) / 1000
    failed = f", {n_failed} failed" if n_failed else ""
    out.print(
        f"{len(history.results)} trials{failed} in {history.running_s:.0f} s; training used {energy_kj:.3g} kJ",
        markup=False,
    )
    if not outcome.mirror.caught_up:
        print_error(f"MLflow is behind: {outcome.mirror.reason}; catch up with: dsnn-hpo resume {folder.path}")
    print_places(folder)


def print_places(folder: RunFolder) -> None:
    """Prints where a run's figure lies and the commands that go on from here."""
    out = console()
    out.print(f"figure:  {_relative(folder.report / 'pareto_front.html')}", markup=False)
    out.print(f"table:   dsnn-hpo front {_relative(folder.path)}", markup=False)
    out.print(f"browse:  dsnn-hpo ui {_relative(folder.path)}", markup=False)


def _varied(configs: list[dict[str, object]]) -> set[str]:
    names = {name for config in configs for name in config}
    return names if len(configs) < 2 else {n for n in names if len({repr(c.get(n)) for c in configs}) > 1}


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _relative(path: Path) -> Path:
    resolved, here = path.resolve(), Path.cwd()
    return resolved.relative_to(here) if here in resolved.parents else resolved
