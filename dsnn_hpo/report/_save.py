"""The files of a report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dsnn_hpo.journal import History
from dsnn_hpo.report._html import front_html
from dsnn_hpo.report._markdown import front_markdown
from dsnn_hpo.report._png import front_png
from dsnn_hpo.report._rows import front_json


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where a report lies."""

    html: Path
    png: Path
    markdown: Path
    json: Path


def save_report(history: History, folder: Path) -> ReportFiles:
    """Writes ``pareto_front.html``, ``pareto_front.png``, ``front.md`` and ``front.json``; returns their paths.

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
    )
    _replace(files.html, front_html(history).encode())
    _replace(files.png, front_png(history))
    _replace(files.markdown, front_markdown(history).encode())
    _replace(files.json, (json.dumps(front_json(history), indent=2) + "\n").encode())
    return files


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(content)
    aside.replace(path)
