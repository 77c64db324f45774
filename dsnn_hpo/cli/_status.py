"""How a run stands, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsnn_hpo.cli._console import console
from dsnn_hpo.cli._progress import duration, joules

if TYPE_CHECKING:
    from dsnn_hpo.experiment import RunStatus


def print_status(status: RunStatus) -> None:
    """Prints what a user wants to know of a run from another terminal."""
    out = console()
    driver = f" (process {status.driver})" if status.driver else ""
    reason = f": {status.reason}" if status.reason else ""
    out.print(f"{status.name}: {status.state}{driver}{reason}", markup=False)
    parts = [f"{status.n_completed} completed", f"{len(status.running)} in flight"]
    parts += [f"{n} failed ({cause.replace('_', ' ')})" for cause, n in sorted(status.failures.items())]
    if status.n_attempts_lost:
        parts.append(f"{status.n_attempts_lost} attempts lost and made again")
    out.print(f"trials:  {', '.join(parts)}", markup=False)
    figures = [f"{status.budget_spent:.0%} of the budget", duration(status.running_s), joules(status.energy_j)]
    if status.hypervolume is not None:
        figures.append(f"hypervolume {status.hypervolume:.3f}")
    out.print(f"so far:  {', '.join(figures)}", markup=False)
    for trial in status.running:
        attempt = f", attempt {trial.attempt}" if trial.attempt > 1 else ""
        out.print(
            f"  trial {trial.id}{attempt}: kept up to epoch {trial.epoch} of {trial.n_epochs}; {trial.log}",
            markup=False,
        )
    if status.go_on:
        out.print(f"go on:   {status.go_on}", markup=False)
