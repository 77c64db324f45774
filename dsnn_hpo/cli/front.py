"""`dsnn-hpo front`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def front(
    run_dir: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Prints the Pareto front of a run, also while it is running."""
    from dsnn_hpo.cli._summary import print_front, print_places
    from dsnn_hpo.experiment import RunFolder, read_run
    from dsnn_hpo.report import front_json

    history = read_run(run_dir)
    if as_json:
        typer.echo(json.dumps(front_json(history)))
        return
    print_front(history)
    print_places(RunFolder(run_dir))
