"""The files of a report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dsnn_hpo.errors import InputError
from dsnn_hpo.journal import History
from dsnn_hpo.report._figures import report_figures
from dsnn_hpo.report._html import front_html
from dsnn_hpo.report._markdown import front_markdown
from dsnn_hpo.report._matplotlib import Format
from dsnn_hpo.report._png import front_png
from dsnn_hpo.report._rows import front_json
from dsnn_hpo.report.page import report_html

_FORMATS: tuple[Format, ...] = ("png", "svg")


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where a report lies."""

    html: Path
    png: Path
    markdown: Path
    json: Path
    page: Path


@dataclass(frozen=True, slots=True)
class PageFiles:
    """Where a run's page lies, and its figures as files of their own."""

    page: Path
    figures: tuple[Path, ...]


def save_report(history: History, folder: Path) -> ReportFiles:
    """Writes ``pareto_front.html``, ``pareto_front.png``, ``front.md``, ``front.json`` and ``report.html``; returns their paths.

    Each file is written aside and then replaced: whoever reads one meanwhile sees the old or the new one, whole.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(
        html=folder / "pareto_front.html",
        png=folder / "pareto_front.png",
        markdown=folder / "front.md",
        json=folder / "front.json",
        page=folder / "report.html",
    )
    _replace(files.html, front_html(history).encode())
    _replace(files.png, front_png(history))
    _replace(files.markdown, front_markdown(history).encode())
    _replace(files.json, (json.dumps(front_json(history), indent=2) + "\n").encode())
    _replace(files.page, _encoded(report_html(history)))
    return files


def save_page(history: History, page: Path, figures: Path) -> PageFiles:
    """Writes the page that explains a run (see ``report_html``), and its figures as PNG and SVG; returns their paths.

    Args:
        history: the run, finished or not.
        page: the file.
        figures: the folder of the figures, ``NAME.png`` and ``NAME.svg``; those with nothing to draw are left out.

    Raises:
        InputError: ``page`` is a folder.
        OSError: one of them cannot be written.
    """
    if page.is_dir():
        raise InputError(f"{page} is a folder; name the file to write, such as {page / 'report.html'}")
    shown = report_figures(history)
    page.parent.mkdir(parents=True, exist_ok=True)
    _replace(page, _encoded(report_html(history, shown)))
    figures.mkdir(parents=True, exist_ok=True)
    paths = []
    for figure in shown:
        for file_format in _FORMATS:
            path = figures / f"{figure.name}.{file_format}"
            if figure.draw is not None:
                _replace(path, figure.file(file_format))
                paths.append(path)
    return PageFiles(page, tuple(paths))


def _encoded(text: str) -> bytes:
    # Half a character, as a broken log may hold, must not cost the page.
    return text.encode(errors="replace")


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(content)
    aside.replace(path)
