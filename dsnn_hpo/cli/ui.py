"""`dsnn-hpo ui`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ui(
    run_dir: Annotated[
        Path | None, typer.Argument(help="A run folder; by default the newest below runs/.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.", min=1, max=65535)] = 5000,
) -> None:
    """Starts the MLflow server on a run's store and prints the address of the run's charts and of its page."""
    from dsnn_hpo.cli._mlflow import print_links
    from dsnn_hpo.experiment import Links, serve_ui

    def announce(links: Links) -> None:
        print_links(links)
        typer.echo("Ctrl-C ends the server")

    serve_ui(run_dir, port, announce)
