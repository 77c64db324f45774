"""Printing: results to standard output, everything else to standard error."""

from __future__ import annotations

import sys

from rich.console import Console


def console() -> Console:
    """Returns a console on standard output."""
    return Console(highlight=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Prints a message to standard error, as it is."""
    print(message, file=sys.stderr)
