"""`dsnn-hpo schema`."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Prints the JSON Schema of experiment files, for editors that complete and check them."""
    from dsnn_hpo.experiment import ExperimentConfig

    typer.echo(json.dumps(ExperimentConfig.model_json_schema(), indent=2))
