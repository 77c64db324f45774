"""`dsnn-hpo evaluate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model_dir: Annotated[Path, typer.Argument(metavar="DIR", help="An exported model.", show_default=False)],
    data: Annotated[
        str, typer.Argument(help="A data set's name, or a folder of images in class folders.", show_default=False)
    ],
    path: Annotated[Path | None, typer.Option(help="Where the data set of that name lies.")] = None,
    split: Annotated[Path | None, typer.Option(help="A run's split.npz: its test part counts.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Prints the share of images that an exported model gets wrong."""
    from dsnn_hpo.deploy import evaluate_on, load_model

    found = evaluate_on(load_model(model_dir), data, path, split)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo(f"error: {found.error:.4%} of {found.n_images:,} images ({found.images})")
