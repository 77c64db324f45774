"""`dsnn-hpo front`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def front(
    run_dir: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    maxima: Annotated[
        list[str] | None,
        typer.Option(
            "--max", metavar="NAME=VALUE", help="Members with at most this; can be given again.", show_default=False
        ),
    ] = None,
    minima: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="NAME=VALUE", help="At least this, e.g. accuracy=0.9.", show_default=False),
    ] = None,
    knee: Annotated[bool, typer.Option("--knee", help="Choose the knee.")] = False,
    prefer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:WEIGHT,...", help="Choose by weights, e.g. accuracy:2,energy:1.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Prints the Pareto front of a run, also while it is running, or chooses a member of it; says what accuracy costs."""
    from dsnn_hpo.cli._choice import print_choice
    from dsnn_hpo.cli._summary import print_front, print_places
    from dsnn_hpo.errors import ChoiceError
    from dsnn_hpo.experiment import RunFolder, read_run
    from dsnn_hpo.report import choice_json, choose, front_json, wishes_of

    history = read_run(run_dir)
    wishes = wishes_of(history, maxima=maxima or (), minima=minima or (), knee=knee, prefer=prefer)
    choice = None if wishes is None else choose(history, wishes)
    if as_json:
        typer.echo(json.dumps({**front_json(history), **choice_json(history, choice)}))
    elif choice is None:
        print_front(history)
        print_places(RunFolder(run_dir))
    elif choice.chosen is not None:
        print_choice(history, choice, run_dir)
    if choice is not None and choice.chosen is None:
        raise ChoiceError(choice.why)
