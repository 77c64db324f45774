"""`dsnn-hpo check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(file: Annotated[Path, typer.Argument(help="The experiment file.", show_default=False)]) -> None:
    """Checks an experiment without running it and prints the plan."""
    from dsnn_hpo.experiment import ExperimentConfig

    config = ExperimentConfig.from_file(file)
    # Now only: a mistake in the file does not wait for torch.
    from dsnn_hpo.cli._plan import print_plan
    from dsnn_hpo.experiment import build

    print_plan(build(config))
