"""What `sync`, `register` and `ui` print."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

if TYPE_CHECKING:
    from dsnn_hpo.experiment import Links, RegisteredTrial, Synced

_EVERY = 50


@contextmanager
def showing_progress() -> Iterator[Callable[[int, int], None]]:
    """Yields a function that shows, on standard error, how many of so many configurations are written."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _print_some
        return
    columns = (TextColumn("configurations"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda n_done, n: bars.update(task, completed=n_done, total=n)


def _print_some(n_done: int, n: int) -> None:
    if n_done % _EVERY == 0 or n_done == n:
        print(f"{n_done} of {n} configurations", file=sys.stderr, flush=True)


def print_synced(synced: Synced, run_dir: Path) -> None:
    """Prints where a run lies now, and how to look at it."""
    typer.echo(f"{synced.n_configurations} configurations are in MLflow at {synced.uri}")
    if synced.links is not None:
        print_links(synced.links)
    elif synced.is_own:
        typer.echo(f"browse:  dsnn-hpo ui {shlex.quote(str(run_dir))}")
    else:
        typer.echo(f"browse:  mlflow server --backend-store-uri {shlex.quote(synced.uri)}")


def print_links(links: Links) -> None:
    """Prints a run's addresses; the first is the one that a terminal's user follows."""
    typer.echo(f"charts:  {links.charts}")
    if links.page != links.charts:
        typer.echo(f"page:    {links.page}")


def print_registered(trial: RegisteredTrial, run_dir: Path) -> None:
    """Prints how a registered model is loaded, and where it is to be seen."""
    model = trial.registered
    typer.echo(f"{model.name}, version {model.version}")
    for uri in model.uris:
        typer.echo(f"load:    {uri}")
    if trial.link is not None:
        typer.echo(f"page:    {trial.link}")
    else:
        typer.echo(f"page:    under Models, with dsnn-hpo ui {shlex.quote(str(run_dir))}")
