"""What the interactive figures share: looks, hover texts, menus."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._points import GREY, GRID, INK, RED, Points
from dsnn_hpo.report._words import epochs, readable, with_interval
from dsnn_hpo.trial import Result

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
SETTINGS = {"displaylogo": False, "responsive": True}

Value = Callable[[Result], float]


def new_figure() -> Figure:
    """Returns an empty figure that looks like the others."""
    # Imported here, so that a table of the front does not wait half a second for plotly.
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        template="plotly_white",
        font={"family": FONT, "size": 14, "color": INK},
        hoverlabel={"bgcolor": "white", "bordercolor": GREY, "align": "left", "font": {"size": 13, "color": INK}},
        hovermode="closest",
        # Inside the plot, where the worst results would be: in a narrow frame the buttons need the room above.
        legend={"x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "bgcolor": "rgba(255,255,255,0.8)"},
        margin={"l": 80, "r": 30, "t": 50, "b": 70},
    )
    looks = {"gridcolor": GRID, "zeroline": False, "linecolor": GREY, "ticks": "outside", "tickcolor": GREY}
    # On a logarithmic axis 0.2, not a lonely 2.
    looks["minorloglabels"] = "complete"
    figure.update_xaxes(**looks)
    figure.update_yaxes(**looks)
    return figure


def title(figure: Figure, name: str, below: str) -> None:
    """Puts a title over a figure that stands alone, and a line below it."""
    text = f"<b>{html.escape(name)}</b><br><span style='font-size:14px;color:#667085'>{html.escape(below)}</span>"
    figure.update_layout(
        title={"text": text, "x": 0.02, "xanchor": "left", "y": 0.96, "yanchor": "top", "font": {"size": 22}},
        margin={"t": 130},
    )


def standalone(figure: Figure, name: str, div_id: str) -> str:
    """Returns a figure as a page of its own, with all that it needs."""
    image = {"filename": "pareto_front", "scale": 2}
    page: str = figure.to_html(
        include_plotlyjs=True,
        config={**SETTINGS, "toImageButtonOptions": image},
        default_height="100%",
        div_id=div_id,
    )
    head = f"<head><title>{html.escape(name)}</title><style>html, body {{height: 97vh; margin: 0}}</style>"
    return page.replace("<head>", head, 1)


def say(figure: Figure, text: str) -> None:
    """Writes a sentence where there is nothing to draw."""
    figure.add_annotation(text=text, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font_size=20)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)


def scatter(
    figure: Figure,
    name: str,
    results: Sequence[Result],
    value: tuple[Value, Value],
    points: Points,
    marker: dict[str, Any],
    **options: Any,
) -> None:
    """Adds results as points, and as a stepped red line where ``line_shape`` says how."""
    shape = options.pop("line_shape", None)
    figure.add_scatter(
        name=name,
        x=[value[0](r) for r in results],
        y=[value[1](r) for r in results],
        mode="markers" if shape is None else "lines+markers",
        line=None if shape is None else {"shape": shape, "color": RED, "width": 2},
        marker=marker,
        customdata=[r.trial.id for r in results],
        text=[hover(r, points) for r in results],
        hovertemplate="%{text}<extra></extra>",
        **options,
    )


def red_marker() -> dict[str, Any]:
    """Returns how members of the front look."""
    return {"color": RED, "size": 11, "line": {"color": "white", "width": 1.5}}


def grey_marker() -> dict[str, Any]:
    """Returns how other results at its fidelity look."""
    return {"color": GREY, "size": 8, "opacity": 0.75}


def faint_marker() -> dict[str, Any]:
    """Returns how results at a lower one look."""
    return {"color": GREY, "size": 6, "symbol": "circle-open", "opacity": 0.8}


def hover(result: Result, points: Points) -> str:
    """Returns what is said of a result: its figures, and its whole configuration, a line each."""
    trial, objectives = result.trial, points.objectives
    lines = [f"<b>trial {trial.id}</b> · {epochs(trial.fidelity)} · seed {trial.seed}", ""]
    for objective in objectives:
        unit = "" if objective.unit == "1" else f" {objective.unit}"
        value = with_interval(result.values[objective.name], interval(result, objective.name))
        line = f"{objective.name}: <b>{value}</b>{unit}"
        if objective.name in result.test_values:
            line += f" (test {readable(result.test_values[objective.name])})"
        lines.append(line)
    if trial.id in points.chances:
        lines.append(f"Pareto-optimal with probability <b>{points.chances[trial.id]:.2f}</b>")
    others = [n for n in result.test_values if n not in result.values]
    lines += [f"test {html.escape(n)}: {readable(result.test_values[n])}" for n in others]
    lines += ["", *(f"{html.escape(n)} = {html.escape(readable(v))}" for n, v in trial.config.items())]
    return "<br>".join(lines)


def menu(kind: str, buttons: list[dict[str, Any]], x: float) -> dict[str, Any]:
    """Returns a menu above a figure, from ``x`` on: "buttons" in a row, or a "dropdown"."""
    return {
        "type": kind,
        "direction": "right" if kind == "buttons" else "down",
        "buttons": buttons,
        "showactive": True,
        "x": x,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "pad": {"t": 0, "b": 4},
        "font": {"size": 12},
        "bgcolor": "white",
        "bordercolor": "#d0d5dd",
    }
