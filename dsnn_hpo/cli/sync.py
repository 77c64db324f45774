"""`dsnn-hpo sync`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sync(
    run_dir: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    tracking_uri: Annotated[
        str | None, typer.Option(help="Another MLflow store or server; by default the run's own.", show_default=False)
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="The MLflow experiment there; by default the run's.", show_default=False)
    ] = None,
) -> None:
    """Writes a run into an MLflow store, or mends it there; what is there already is not written again."""
    from dsnn_hpo.cli._mlflow import print_synced, showing_progress
    from dsnn_hpo.experiment import sync_run

    with showing_progress() as progress:
        synced = sync_run(run_dir, tracking_uri, experiment, progress)
    print_synced(synced, run_dir)
