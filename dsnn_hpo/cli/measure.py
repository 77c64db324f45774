"""`dsnn-hpo measure`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def measure(
    run_dir: Annotated[Path, typer.Argument(help="The run folder, with its checkpoints.", show_default=False)],
    device: Annotated[
        str, typer.Option(help="cpu: the compiled executor; cuda or cuda:N: the emulation on a graphics card.")
    ] = "cpu",
    country: Annotated[
        str | None, typer.Option(help="ISO 3166 code of the country whose electricity this machine uses.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")] = False,
) -> None:
    """Measures a run's front again on this machine, trains nothing, and shows where the ranks change."""
    from dsnn_hpo.cli._measure import print_measurement
    from dsnn_hpo.experiment import measure_run

    found = measure_run(run_dir, device=device, country=country, show=lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps([asdict(member) for member in found.members]))
    else:
        print_measurement(found)
