"""`dsnn-hpo report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run_dir: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(help="The file; by default report/report.html in the run folder.", show_default=False)
    ] = None,
) -> None:
    """Writes a page that explains a run, also while it is running, and its figures as PNG and SVG."""
    from dsnn_hpo.cli._summary import print_page
    from dsnn_hpo.experiment import RunFolder, read_run
    from dsnn_hpo.report import save_page

    history, folder = read_run(run_dir), RunFolder(run_dir).report
    page = to or folder / "report.html"
    print_page(save_page(history, page, folder / "figures" if to is None else to.with_name(f"{to.stem}_figures")))
