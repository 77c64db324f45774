"""`dsnn-hpo compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand


class AgainstMany(TyperCommand):
    """A command whose ``--against`` takes all that follows up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Returns what is left after parsing."""
        return super().parse_args(ctx, _spread(args))


def _spread(arguments: list[str]) -> list[str]:
    """Returns the arguments with ``--against A B`` written as ``--against A --against B``."""
    spread: list[str] = []
    n_named = -1
    for argument in arguments:
        if argument.startswith("-"):
            n_named = 0 if argument == "--against" else -1
        elif n_named >= 0:
            spread += ["--against"] if n_named else []
            n_named += 1
        spread.append(argument)
    return spread


def compare(
    runs: Annotated[list[Path], typer.Argument(help="The run folders.", show_default=False)],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN_DIR...", help="All runs that follow: a second group, over seeds.", show_default=False
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Also write a picture, FILE.png or FILE.html.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Compares runs, one by one or in groups over seeds: hypervolume, joint front, coverage, cost; tests and pictures."""
    from dsnn_hpo.cli._compare import print_comparison
    from dsnn_hpo.experiment import compare_folders
    from dsnn_hpo.report import comparison_json, save_comparison

    found = compare_folders(runs, against or (), to)
    if to is not None:
        save_comparison(found, to)
    if as_json:
        typer.echo(json.dumps(comparison_json(found)))
    else:
        print_comparison(found, to)
