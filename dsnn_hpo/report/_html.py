"""The front as an interactive figure in one HTML file that needs no network."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._points import GREY, GRID, INK, RED, Points, left_to_right, points_of, subtitle
from dsnn_hpo.report._words import epochs, readable, with_interval
from dsnn_hpo.trial import Objective, Result

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_COLOURS = "Viridis"

Value = Callable[[Result], float]


def front_html(history: History) -> str:
    """Returns an HTML page with the front: hover shows a configuration, buttons switch the axes and the split.

    One objective is drawn over the trials; two as a scatter with the front as a stepped line; of three and more, two at a time,
    with a menu of the pairs, and the third as the colour.
    """
    # Imported here, so that a table of the front does not wait half a second for plotly.
    import plotly.graph_objects as go

    points = points_of(history)
    figure = go.Figure()
    if not points.front:
        _say_empty(figure, history)
    elif len(points.objectives) == 1:
        _draw_one(figure, points)
    elif len(points.objectives) == 2:
        _draw_two(figure, points)
    else:
        _draw_many(figure, points)
    _dress(figure, history, points)
    page: str = figure.to_html(
        include_plotlyjs=True,
        config={
            "displaylogo": False,
            "responsive": True,
            "toImageButtonOptions": {"filename": "pareto_front", "scale": 2},
        },
        default_height="100%",
        div_id="front",
    )
    head = (
        f"<head><title>{html.escape(history.header.name)}</title><style>html, body {{height: 97vh; margin: 0}}</style>"
    )
    return page.replace("<head>", head, 1)


def _say_empty(figure: Figure, history: History) -> None:
    n = len(history.results)
    text = "No trial has ended yet" if not n else f"The front is empty: none of {n} trials completed"
    figure.add_annotation(text=text, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font_size=20)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)


def _draw_one(figure: Figure, points: Points) -> None:
    (objective,) = points.objectives
    value = _of("validation", objective)
    ordered = sorted((*points.front, *points.others), key=lambda r: r.trial.id)
    best: list[Result] = []
    for result in ordered:
        if not best or objective.loss(value(result)) < objective.loss(value(best[-1])):
            best.append(result)
    _scatter(figure, "trials", ordered, (_trial_id, value), points, _grey_marker())
    _scatter(figure, "best so far", best, (_trial_id, value), points, _red_marker(), line_shape="hv")
    if ordered[-1] is not best[-1]:
        figure.add_scatter(
            x=[best[-1].trial.id, ordered[-1].trial.id],
            y=[value(best[-1])] * 2,
            mode="lines",
            line={"color": RED, "width": 2},
            showlegend=False,
            hoverinfo="skip",
        )
    figure.update_layout(xaxis_title="trial", yaxis_title=points.label(objective, "validation"))
    figure.update_layout(updatemenus=[_scale_menu("y", 0.0)])


def _draw_two(figure: Figure, points: Points) -> None:
    x, y = points.axes
    shape = "hv" if x.goal == "minimize" else "vh"
    shown = [list(points.lower), list(points.others), left_to_right(points.front, x)]
    value = (_of("validation", x), _of("validation", y))
    _scatter(figure, "fewer epochs", shown[0], value, points, _faint_marker(), visible="legendonly")
    _scatter(figure, epochs(points.fidelity), shown[1], value, points, _grey_marker())
    bars = {"error_x": _error_bars(shown[2], x), "error_y": _error_bars(shown[2], y)}
    _scatter(figure, "Pareto front", shown[2], value, points, _red_marker(), line_shape=shape, **bars)
    figure.update_layout(xaxis_title=_title(points, x, "validation"), yaxis_title=_title(points, y, "validation"))
    menus = [_scale_menu("x", 0.0), _scale_menu("y", 0.25)]
    if _tested(points, x) or _tested(points, y):
        menus.append(_split_menu(points, shown, 0.5))
    figure.update_layout(updatemenus=menus)


def _draw_many(figure: Figure, points: Points) -> None:
    x, y = points.axes
    third = points.objectives[2]
    value = (_of("validation", x), _of("validation", y))
    shown = [list(points.lower), list(points.others), left_to_right(points.front, x)]
    _scatter(figure, "fewer epochs", shown[0], value, points, _faint_marker(), visible="legendonly")
    _scatter(figure, epochs(points.fidelity), shown[1], value, points, _grey_marker())
    marker = {
        "size": 12,
        "color": [m.values[third.name] for m in shown[2]],
        "colorscale": _COLOURS,
        "colorbar": {"title": {"text": points.label(third), "side": "right"}, "thickness": 14, "outlinewidth": 0},
        "line": {"color": RED, "width": 2},
    }
    _scatter(figure, "Pareto front", shown[2], value, points, marker)
    figure.update_layout(xaxis_title=points.label(x), yaxis_title=points.label(y))
    menus = [_scale_menu("x", 0.0), _scale_menu("y", 0.25), _pair_menu(points, shown, 0.5)]
    figure.update_layout(updatemenus=menus)


def _scatter(
    figure: Figure,
    name: str,
    results: Sequence[Result],
    value: tuple[Value, Value],
    points: Points,
    marker: dict[str, Any],
    **options: Any,
) -> None:
    shape = options.pop("line_shape", None)
    figure.add_scatter(
        name=name,
        x=[value[0](r) for r in results],
        y=[value[1](r) for r in results],
        mode="markers" if shape is None else "lines+markers",
        line=None if shape is None else {"shape": shape, "color": RED, "width": 2},
        marker=marker,
        text=[_hover(r, points) for r in results],
        hovertemplate="%{text}<extra></extra>",
        **options,
    )


def _red_marker() -> dict[str, Any]:
    return {"color": RED, "size": 11, "line": {"color": "white", "width": 1.5}}


def _grey_marker() -> dict[str, Any]:
    return {"color": GREY, "size": 8, "opacity": 0.75}


def _faint_marker() -> dict[str, Any]:
    return {"color": GREY, "size": 6, "symbol": "circle-open", "opacity": 0.8}


def _error_bars(results: Sequence[Result], objective: Objective) -> dict[str, Any]:
    """Returns the 95 % intervals of an objective."""
    widths = [interval(r, objective.name) for r in results]
    return {"type": "data", "array": widths, "visible": any(widths), "color": GREY, "thickness": 1.2, "width": 4}


def _hover(result: Result, points: Points) -> str:
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


def _trial_id(result: Result) -> float:
    return result.trial.id


def _of(split: str, objective: Objective) -> Value:
    """Returns how to read an objective on a split; what was measured once (a size, say) is the same on both."""
    name = objective.name
    if split == "test":
        return lambda result: result.test_values.get(name, result.values[name])
    return lambda result: result.values[name]


def _tested(points: Points, objective: Objective) -> bool:
    return any(objective.name in m.test_values for m in points.front)


def _title(points: Points, objective: Objective, split: str) -> str:
    return points.label(objective, split if _tested(points, objective) else "")


def _scale_menu(axis: str, x: float) -> dict[str, Any]:
    buttons = [
        {
            "label": f"{axis} {kind}",
            "method": "relayout",
            "args": [{f"{axis}axis.type": kind, f"{axis}axis.autorange": True}],
        }
        for kind in ("linear", "log")
    ]
    return _menu("buttons", buttons, x)


def _split_menu(points: Points, shown: Sequence[Sequence[Result]], x_place: float) -> dict[str, Any]:
    x, y = points.axes
    buttons = []
    for split in ("validation", "test"):
        data = {
            "x": [[_of(split, x)(r) for r in results] for results in shown],
            "y": [[_of(split, y)(r) for r in results] for results in shown],
            # The front is chosen on validation values: on the test split its members need not form a staircase.
            "mode": ["markers", "markers", "lines+markers" if split == "validation" else "markers"],
        }
        titles = {"xaxis.title.text": _title(points, x, split), "yaxis.title.text": _title(points, y, split)}
        buttons.append({"label": split, "method": "update", "args": [data, titles]})
    return _menu("buttons", buttons, x_place)


def _pair_menu(points: Points, shown: Sequence[Sequence[Result]], x_place: float) -> dict[str, Any]:
    buttons = []
    objectives = points.objectives
    for i, y in enumerate(objectives):
        for x in objectives[i + 1 :]:
            data = {
                "x": [[r.values[x.name] for r in results] for results in shown],
                "y": [[r.values[y.name] for r in results] for results in shown],
            }
            titles = {"xaxis.title.text": points.label(x), "yaxis.title.text": points.label(y)}
            buttons.append({"label": f"{y.name} over {x.name}", "method": "update", "args": [data, titles]})
    return _menu("dropdown", buttons, x_place)


def _menu(kind: str, buttons: list[dict[str, Any]], x: float) -> dict[str, Any]:
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


def _dress(figure: Figure, history: History, points: Points) -> None:
    name = html.escape(history.header.name)
    title = f"<b>{name}</b><br><span style='font-size:14px;color:#667085'>{subtitle(history, points)}</span>"
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0.02, "xanchor": "left", "y": 0.96, "yanchor": "top", "font": {"size": 22}},
        font={"family": _FONT, "size": 14, "color": INK},
        hoverlabel={"bgcolor": "white", "bordercolor": GREY, "align": "left", "font": {"size": 13, "color": INK}},
        hovermode="closest",
        # Inside the plot, where the worst results would be: in a narrow frame the buttons need the room above.
        legend={"x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "bgcolor": "rgba(255,255,255,0.8)"},
        margin={"l": 80, "r": 30, "t": 130, "b": 70},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=GREY, ticks="outside", tickcolor=GREY)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=GREY, ticks="outside", tickcolor=GREY)
