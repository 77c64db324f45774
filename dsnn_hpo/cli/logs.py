"""`dsnn-hpo logs`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

POLL_S = 0.5


def logs(
    run_dir: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    trial: Annotated[int, typer.Argument(help="The trial's number.", show_default=False)],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C as it grows.")] = False,
) -> None:
    """Prints the log of a trial: all its attempts, with the traceback of what failed."""
    from dsnn_hpo.experiment import trial_log

    with trial_log(run_dir, trial).open(encoding="utf-8", errors="replace") as log:
        try:
            while True:
                sys.stdout.write(log.read())
                sys.stdout.flush()
                if not follow:
                    return
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            pass
