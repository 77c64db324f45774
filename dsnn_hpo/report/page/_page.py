"""The page that explains a run: one HTML file, with all that it needs."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from typing import Any

from dsnn_hpo.journal import History
from dsnn_hpo.report._figures import ReportFigure, report_figures
from dsnn_hpo.report._plotly import hover
from dsnn_hpo.report._points import points_of
from dsnn_hpo.report._rows import front_json
from dsnn_hpo.report.page._assets import SCRIPT, STYLE
from dsnn_hpo.report.page._text import (
    failures_section,
    footprint_section,
    front_section,
    head_section,
    members_section,
    origins_section,
    reproduce_section,
)

_TALL, _BROAD = ("importance", "rungs"), ("parallel_coordinates",)


def report_html(history: History, figures: Sequence[ReportFigure] | None = None) -> str:
    """Returns the page of a run, finished or not: what it found, how sure that is, what it cost, how to repeat it.

    It loads nothing, and its policy forbids that it ever does; of scripts, only its own two run. Whatever
    comes from the user (names, errors, logs) is text in it.

    Args:
        history: the run.
        figures: as ``report_figures`` gives them, if they are at hand.
    """
    from plotly.offline import get_plotlyjs

    shown = report_figures(history) if figures is None else figures
    drawn = [(figure, figure.interactive()) for figure in shown if figure.interactive is not None]
    data = [_as_json(figure.name, plot) for figure, plot in drawn if plot is not None]
    plotly = get_plotlyjs()
    front, *others = shown
    body = [
        head_section(history),
        _figure_section(front),
        front_section(history),
        *(_figure_section(figure) for figure in others),
        footprint_section(history),
        failures_section(history),
        origins_section(history),
        reproduce_section(history),
        members_section(history),
    ]
    name = html.escape(history.header.name)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(plotly, SCRIPT)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name} – dsnn-hpo</title><style>{STYLE}</style></head><body><main>",
            *body,
            "</main>",
            _data("hovers", _hovers(history, data)),
            _data("figures", data),
            _data("front-json", front_json(history)),
            f"<script>{plotly}</script>",
            f"<script>{SCRIPT}</script>",
            "</body></html>",
        ]
    )


def _policy(*scripts: str) -> str:
    """Returns what the page may do: run these scripts, be styled, and turn a figure into a picture."""
    digests = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:"


def _figure_section(figure: ReportFigure) -> str:
    kind = "tall" if figure.name in _TALL else "broad" if figure.name in _BROAD else ""
    place = f'<div class="wide"><div class="figure {kind}" id="figure-{figure.name}"></div></div>'
    lines = [f'<h2 id="{figure.name}">{html.escape(figure.title)}</h2>', f"<p>{html.escape(figure.reading)}</p>"]
    lines += [place] if figure.interactive is not None else []
    lines += [f'<p class="quiet says">{html.escape(line)}</p>' for line in figure.says]
    return "\n".join(lines)


def _as_json(name: str, plot: Any) -> dict[str, Any]:
    """Returns a figure without its hover texts: several figures show the same result."""
    figure: dict[str, Any] = json.loads(plot.to_json())
    for trace in figure["data"]:
        trace.pop("text", None)
    return {"name": name, "data": figure["data"], "layout": figure["layout"]}


def _hovers(history: History, figures: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Returns the hover text of each result that a figure shows, by trial."""
    points = points_of(history)
    ids = {id_ for figure in figures for trace in figure["data"] for id_ in trace.get("customdata") or ()}
    return {str(r.trial.id): hover(r, points) for r in history.latest_results() if r.values and r.trial.id in ids}


def _data(name: str, value: Any) -> str:
    """Returns a script element that holds data: what could end it is written in another way."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'
