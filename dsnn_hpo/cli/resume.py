"""`dsnn-hpo resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def resume(run_dir: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)]) -> None:
    """Carries on a run that was interrupted or killed; of a finished one, catches up figures and MLflow."""
    from dsnn_hpo.cli._progress import show_progress
    from dsnn_hpo.cli._summary import print_outcome
    from dsnn_hpo.experiment import config_of, read_run

    with show_progress(config_of(read_run(run_dir).header), run_dir) as progress:
        from dsnn_hpo.experiment import resume as resume_run

        outcome = resume_run(run_dir, [progress])
    print_outcome(outcome)
