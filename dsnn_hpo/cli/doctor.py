"""`dsnn-hpo doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False) -> None:
    """Says what this machine can measure and how far to trust it, what it runs on, and what would mend each lack."""
    from dsnn_hpo.cli._doctor import print_findings
    from dsnn_hpo.experiment import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        print_findings(findings)
