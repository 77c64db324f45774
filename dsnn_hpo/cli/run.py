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
    submit: Annotated[bool, typer.Option("--submit", help="Run the driver as a SLURM job; return at once.")] = False,
) -> None:
    """Runs an experiment and prints its Pareto front."""
    if submit:
        _submit(file, out)
    else:
        _run(file, out)


def _run(file: Path, out: Path | None) -> None:
    from dsnn_hpo.cli._progress import show_progress
    from dsnn_hpo.cli._summary import print_outcome
    from dsnn_hpo.experiment import ExperimentConfig, default_folder

    config = ExperimentConfig.from_file(file)
    folder = out or default_folder(config.name)
    with show_progress(config, folder) as progress:
        from dsnn_hpo.experiment import start

        outcome = start(config, folder, [progress])
    print_outcome(outcome)


def _submit(file: Path, out: Path | None) -> None:
    from dsnn_hpo.cli._summary import print_submitted
    from dsnn_hpo.experiment import ExperimentConfig

    config = ExperimentConfig.from_file(file)
    from dsnn_hpo.experiment import submit as submit_run

    print_submitted(submit_run(config, out))
