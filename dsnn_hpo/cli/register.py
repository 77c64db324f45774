"""`dsnn-hpo register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(
    run_dir: Annotated[Path, typer.Argument(help="The run folder, with its packed models.", show_default=False)],
    trial: Annotated[int, typer.Argument(help="The trial's number, as `front` shows it.", show_default=False)],
    name: Annotated[str, typer.Option(help="The registered model.", show_default=False)],
    alias: Annotated[
        list[str] | None, typer.Option(help="An alias of this version; may be given again.", show_default=False)
    ] = None,
    tracking_uri: Annotated[
        str | None, typer.Option(help="Another MLflow store or server; by default the run's own.", show_default=False)
    ] = None,
) -> None:
    """Makes a trial's packed model a version of a registered model in MLflow; prints how it is loaded."""
    from dsnn_hpo.cli._mlflow import print_registered
    from dsnn_hpo.experiment import register_trial
    from dsnn_hpo.tracking import Registration

    print_registered(register_trial(run_dir, Registration(trial, name, tuple(alias or ())), tracking_uri), run_dir)
