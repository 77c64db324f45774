"""The application: its commands, and what becomes of errors (exit codes 0, 1, 2, 130)."""

from __future__ import annotations

import sys
import warnings

import typer

from dsnn_hpo.cli import (
    check,
    compare,
    doctor,
    evaluate,
    export,
    front,
    logs,
    measure,
    predict,
    register,
    report,
    resume,
    run,
    schema,
    status,
    sync,
    ui,
)
from dsnn_hpo.cli._console import print_error
from dsnn_hpo.errors import DsnnHpoError, DsnnHpoWarning, InputError, RunInterruptedError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="dsnn-hpo",
    help="Searches multiplication-free neural networks for the best trade-offs of accuracy and energy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(run.run)
app.command()(resume.resume)
app.command()(check.check)
app.command()(status.status)
app.command()(logs.logs)
app.command()(front.front)
app.command(cls=compare.AgainstMany)(compare.compare)
app.command()(report.report)
app.command()(measure.measure)
app.command()(export.export)
app.command()(predict.predict)
app.command()(evaluate.evaluate)
app.command()(register.register)
app.command()(sync.sync)
app.command()(ui.ui)
app.command()(doctor.doctor)
app.command()(schema.schema)


def main() -> None:
    """Runs the command line and ends the process with its exit code; a user's mistake gives a message, no traceback."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app()
    except InputError as error:
        _end(str(error), BAD_INPUT)
    except RunInterruptedError as error:
        _end(str(error), INTERRUPTED)
    except DsnnHpoError as error:
        _end(str(error), FAILED)
    except OSError as error:
        # A full disk, a folder that cannot be written: the system's fault or the user's, not a bug to trace.
        _end(f"{type(error).__name__}: {error}", FAILED)


def _end(message: str, exit_code: int) -> None:
    print_error(message)
    sys.exit(exit_code)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    # Our own warnings are for the user; those of libraries about each other are not.
    if issubclass(category, DsnnHpoWarning):
        print_error(f"warning: {message}")
