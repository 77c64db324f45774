"""`dsnn-hpo run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    file: Annotated[Path, typer.Argument(help="The experiment file.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default runs/NAME/TIME.", show_default=False)
    ] = None,
) -> None:
    """Runs an experiment and prints its Pareto front."""
    from dsnn_hpo.cli._progress import show_progress
    from dsnn_hpo.cli._summary import print_outcome
    from dsnn_hpo.experiment import ExperimentConfig, default_folder

    config = ExperimentConfig.from_file(file)
    folder = out or default_folder(config.name)
    with show_progress(config, folder) as progress:
        from dsnn_hpo.experiment import start

        outcome = start(config, folder, [progress])
    print_outcome(outcome)
