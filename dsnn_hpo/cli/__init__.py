"""The command line: `dsnn-hpo COMMAND`; one file a command, no logic."""

from dsnn_hpo.cli._app import app, main

__all__ = ["app", "main"]
