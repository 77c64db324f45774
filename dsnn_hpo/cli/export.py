"""`dsnn-hpo export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What the folder holds: the packed model, or also a file of C."""

    PACKED = "packed"
    C = "c"


def export(
    run_dir: Annotated[Path, typer.Argument(help="The run folder, with its checkpoints.", show_default=False)],
    trial: Annotated[int, typer.Argument(help="The trial's number, as `front` shows it.", show_default=False)],
    to: Annotated[Path, typer.Option(help="The new folder.", show_default=False)],
    file_format: Annotated[
        Format, typer.Option("--format", help="packed: weights, plan and model card; c: also one file of C99.")
    ] = Format.PACKED,
) -> None:
    """Exports a trial's network, frozen to integers, as a folder to ship; prints its sizes and its test error."""
    from dsnn_hpo.cli._export import print_exported
    from dsnn_hpo.experiment import export_trial

    print_exported(export_trial(run_dir, trial, to, file_format.value))
