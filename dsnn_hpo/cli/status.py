"""`dsnn-hpo status`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def status(
    run_dir: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Says how a run stands, also while it is running: what runs, what failed and why, how far the budget is spent."""
    from dsnn_hpo.cli._status import print_status
    from dsnn_hpo.experiment import run_status

    found = run_status(run_dir)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        print_status(found)
