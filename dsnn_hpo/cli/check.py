"""`dsnn-hpo check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(file: Annotated[Path, typer.Argument(help="The experiment file.", show_default=False)]) -> None:
    """Checks an experiment without running it and prints the plan."""
    from dsnn_hpo.cli._plan import print_plan
    from dsnn_hpo.experiment import ExperimentConfig, build

    print_plan(build(ExperimentConfig.from_file(file)))
