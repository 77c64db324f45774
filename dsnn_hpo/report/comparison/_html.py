"""A comparison as an interactive figure in one HTML file that needs no network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsnn_hpo.report._plotly import menu, standalone
from dsnn_hpo.report._points import FAINT, GRID, INK
from dsnn_hpo.report._words import label, readable
from dsnn_hpo.report.comparison._compare import Comparison
from dsnn_hpo.report.comparison._overlay import Overlay, anytime_of, overlay_of
from dsnn_hpo.trial import Objective, Result

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def comparison_html(comparison: Comparison) -> str:
    """Returns an HTML page with the picture of ``comparison_png``; hover shows a member, the legend hides runs."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, column_widths=[0.6, 0.4], horizontal_spacing=0.08)
    if len(comparison.objectives) > 1:
        _draw_fronts(figure, comparison, overlay_of(comparison))
    else:
        _draw_best(figure, comparison)
    for name, colour, rows in anytime_of(comparison):
        _draw_anytime(figure, html.escape(name), colour, rows)
    _dress(figure)
    title = "Comparison of " + ", ".join(run.label for run in comparison.runs)
    return standalone(figure, title, "comparison")


def _draw_fronts(figure: Figure, comparison: Comparison, shown: Overlay) -> None:
    x, y = shown.axes
    survives = {(run, member.trial.id) for run, member in comparison.joint}
    shape = "hv" if x.goal == "minimize" else "vh"
    for run, colour, front in shown.fronts:
        is_line = shown.are_lines and not shown.surfaces
        symbols = ["circle" if (run.label, m.trial.id) in survives else "circle-open" for m in front]
        figure.add_scatter(
            name=html.escape(run.label),
            legendgroup=html.escape(run.label),
            x=[m.values[x.name] for m in front],
            y=[m.values[y.name] for m in front],
            mode="lines+markers" if is_line else "markers",
            line={"shape": shape, "color": colour, "width": 2},
            marker={"symbol": symbols, "color": colour, "size": 7 if shown.surfaces else 10},
            text=[_hover(run.label, m, comparison.objectives, (run.label, m.trial.id) in survives) for m in front],
            hovertemplate="%{text}<extra></extra>",
            row=1,
            col=1,
        )
    for lines in shown.surfaces:
        for line, width in zip(lines, (1, 3, 1), strict=True):
            style = {"shape": shape, "color": line.colour, "width": width, "dash": "solid" if width > 1 else "dot"}
            name = html.escape(line.name)
            figure.add_scatter(name=name, x=line.x, y=line.y, mode="lines", line=style, row=1, col=1)
    figure.update_xaxes(title=label(x), row=1, col=1)
    figure.update_yaxes(title=label(y, "validation" if y.name == "error" else ""), row=1, col=1)
    figure.update_layout(updatemenus=[_scale_menu("x", 0.0), _scale_menu("y", 0.16)])


def _draw_best(figure: Figure, comparison: Comparison) -> None:
    (objective,) = comparison.objectives
    names = [html.escape(run.label) for run in comparison.runs]
    best = [run.front[0].values[objective.name] for run in comparison.runs]
    figure.add_scatter(name="best", x=names, y=best, mode="markers", marker={"size": 10}, row=1, col=1)
    figure.update_yaxes(title=label(objective, "validation"), row=1, col=1)


def _draw_anytime(figure: Figure, name: str, colour: str, rows: Sequence[tuple[int, float, float, float]]) -> None:
    epochs, lower, middle, upper = zip(*rows, strict=True)
    line = {"shape": "hv", "color": colour, "width": 2}
    common: dict[str, Any] = {"x": epochs, "mode": "lines", "legendgroup": name, "row": 1, "col": 2}
    if lower != upper:
        faint: dict[str, Any] = {**line, "width": 0}
        figure.add_scatter(**common, y=lower, line=faint, showlegend=False, hoverinfo="skip")
        band = {"fill": "tonexty", "fillcolor": _transparent(colour), "showlegend": False, "hoverinfo": "skip"}
        figure.add_scatter(**common, y=upper, line=faint, **band)
    figure.add_scatter(**common, y=middle, line=line, name=f"{name}, over epochs")


def _transparent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.12)"


def _hover(run: str, member: Result, objectives: Sequence[Objective], survives: bool) -> str:
    where = "on the joint front" if survives else "not on the joint front"
    lines = [f"<b>{html.escape(run)}, trial {member.trial.id}</b> ({where})"]
    lines += [f"{label(objective)}: {readable(member.values[objective.name])}" for objective in objectives]
    lines += [f"{html.escape(k)} = {html.escape(readable(v))}" for k, v in sorted(member.trial.config.items())]
    return "<br>".join(lines)


def _scale_menu(axis: str, left: float) -> dict[str, Any]:
    buttons = [
        {"label": f"{axis} {kind}", "method": "relayout", "args": [{f"{axis}axis.type": kind}]}
        for kind in ("linear", "log")
    ]
    return menu("buttons", buttons, left)


def _dress(figure: Figure) -> None:
    figure.update_xaxes(title="epochs trained, all configurations", row=1, col=2)
    figure.update_yaxes(title="hypervolume, share of the common box", rangemode="tozero", row=1, col=2)
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(gridcolor=GRID, linecolor=FAINT, zeroline=False)
    figure.update_layout(plot_bgcolor="white", font={"color": INK}, margin={"t": 70}, hovermode="closest")
