"""`dsnn-hpo predict`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def predict(
    model_dir: Annotated[Path, typer.Argument(metavar="DIR", help="An exported model.", show_default=False)],
    images: Annotated[
        list[Path], typer.Argument(help="PNG or JPEG files, or arrays (.npy) of uint8 pixels.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Says what images show: the class, and its probability."""
    from dsnn_hpo.deploy import load_model, predict_files

    found = predict_files(load_model(model_dir), images)
    if as_json:
        typer.echo(json.dumps([asdict(prediction) for prediction in found]))
        return
    for prediction in found:
        typer.echo(f"{prediction.image}: {prediction.label} ({prediction.probability:.1%})")
