"""The front as an interactive figure, and that in one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._columns import spans_decades
from dsnn_hpo.report._plotly import (
    Value,
    faint_marker,
    grey_marker,
    menu,
    new_figure,
    red_marker,
    say,
    scatter,
    standalone,
    title,
)
from dsnn_hpo.report._points import GREY, RED, Points, left_to_right, points_of, subtitle
from dsnn_hpo.report._words import epochs
from dsnn_hpo.trial import Objective, Result

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_COLOURS = "Viridis"
# 1, 2 and 5 of each decade.
_LOG_TICKS = "D2"


def front_html(history: History) -> str:
    """Returns an HTML page with the front: hover shows a configuration, buttons switch the axes and the split."""
    figure = front_figure(history)
    title(figure, history.header.name, subtitle(history, points_of(history)))
    return standalone(figure, history.header.name, "front")


def front_figure(history: History) -> Figure:
    """Returns the front as a figure.

    One objective is drawn over the trials; two as a scatter with the front as a stepped line; of three and more, two at a time,
    with a menu of the pairs, and the third as the colour.
    """
    points = points_of(history)
    figure = new_figure()
    if not points.front:
        say(figure, _empty(history))
    elif len(points.objectives) == 1:
        _draw_one(figure, points)
    elif len(points.objectives) == 2:
        _draw_two(figure, points)
    else:
        _draw_many(figure, points)
    return figure


def _empty(history: History) -> str:
    n = len(history.results)
    return "No trial has ended yet" if not n else f"The front is empty: none of {n} trials completed"


def _draw_one(figure: Figure, points: Points) -> None:
    (objective,) = points.objectives
    value = _of("validation", objective)
    ordered = sorted((*points.front, *points.others), key=lambda r: r.trial.id)
    best: list[Result] = []
    for result in ordered:
        if not best or objective.loss(value(result)) < objective.loss(value(best[-1])):
            best.append(result)
    scatter(figure, "trials", ordered, (_trial_id, value), points, grey_marker())
    scatter(figure, "best so far", best, (_trial_id, value), points, red_marker(), line_shape="hv")
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
    scatter(figure, "fewer epochs", shown[0], value, points, faint_marker(), visible="legendonly")
    scatter(figure, epochs(points.fidelity), shown[1], value, points, grey_marker())
    bars = {"error_x": _error_bars(shown[2], x), "error_y": _error_bars(shown[2], y)}
    scatter(figure, "Pareto front", shown[2], value, points, red_marker(), line_shape=shape, **bars)
    figure.update_layout(xaxis_title=_title(points, x, "validation"), yaxis_title=_title(points, y, "validation"))
    menus = [_scale_menu("x", 0.0, _log(figure, points, x, "x")), _scale_menu("y", 0.25, _log(figure, points, y, "y"))]
    if _tested(points, x) or _tested(points, y):
        menus.append(_split_menu(points, shown, 0.5))
    figure.update_layout(updatemenus=menus)


def _draw_many(figure: Figure, points: Points) -> None:
    x, y = points.axes
    third = points.objectives[2]
    value = (_of("validation", x), _of("validation", y))
    shown = [list(points.lower), list(points.others), left_to_right(points.front, x)]
    scatter(figure, "fewer epochs", shown[0], value, points, faint_marker(), visible="legendonly")
    scatter(figure, epochs(points.fidelity), shown[1], value, points, grey_marker())
    marker = {
        "size": 12,
        "color": [m.values[third.name] for m in shown[2]],
        "colorscale": _COLOURS,
        "colorbar": {"title": {"text": points.label(third), "side": "right"}, "thickness": 14, "outlinewidth": 0},
        "line": {"color": RED, "width": 2},
    }
    bars = {"error_x": _error_bars(shown[2], x), "error_y": _error_bars(shown[2], y)}
    scatter(figure, "Pareto front", shown[2], value, points, marker, **bars)
    figure.update_layout(xaxis_title=_title(points, x, "validation"), yaxis_title=_title(points, y, "validation"))
    menus = [_scale_menu("x", 0.0, _log(figure, points, x, "x")), _scale_menu("y", 0.25, _log(figure, points, y, "y"))]
    menus.append(_pair_menu(points, shown, 0.5))
    figure.update_layout(updatemenus=menus)


def _error_bars(results: Sequence[Result], objective: Objective) -> dict[str, Any]:
    """Returns the 95 % intervals of an objective."""
    widths = [interval(r, objective.name) for r in results]
    return {"type": "data", "array": widths, "visible": any(widths), "color": GREY, "thickness": 1.2, "width": 4}


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


def _log(figure: Figure, points: Points, objective: Objective, axis: str) -> bool:
    """Returns whether an axis is logarithmic, as in the picture, because what it shows spans decades; and makes it so."""
    shown = [_of(split, objective)(r) for r in (*points.front, *points.others) for split in ("validation", "test")]
    if log := spans_decades(shown):
        figure.update_layout({f"{axis}axis": {"type": "log", "dtick": _LOG_TICKS}})
    return log


def _scale_menu(axis: str, x: float, log: bool = False) -> dict[str, Any]:
    buttons = [
        {
            "label": f"{axis} {kind}",
            "method": "relayout",
            "args": [
                {
                    f"{axis}axis.type": kind,
                    f"{axis}axis.dtick": _LOG_TICKS if kind == "log" else None,
                    f"{axis}axis.autorange": True,
                }
            ],
        }
        for kind in ("linear", "log")
    ]
    return {**menu("buttons", buttons, x), "active": int(log)}


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
    return menu("buttons", buttons, x_place)


def _pair_menu(points: Points, shown: Sequence[Sequence[Result]], x_place: float) -> dict[str, Any]:
    buttons = []
    objectives = points.objectives
    splits = ("validation", "test") if any(_tested(points, o) for o in objectives) else ("validation",)
    for split in splits:
        for i, y in enumerate(objectives):
            for x in objectives[i + 1 :]:
                if split == "validation" or _tested(points, x) or _tested(points, y):
                    buttons.append(_pair_button(points, shown, (x, y), split))
    return menu("dropdown", buttons, x_place)


def _pair_button(
    points: Points, shown: Sequence[Sequence[Result]], axes: tuple[Objective, Objective], split: str
) -> dict[str, Any]:
    x, y = axes
    hidden = {"visible": False}
    # An interval is that of the validation figure.
    bars = [_error_bars(shown[2], o) if split == "validation" or not _tested(points, o) else hidden for o in axes]
    data = {
        "x": [[_of(split, x)(r) for r in results] for results in shown],
        "y": [[_of(split, y)(r) for r in results] for results in shown],
        "error_x": [hidden, hidden, bars[0]],
        "error_y": [hidden, hidden, bars[1]],
    }
    titles = {"xaxis.title.text": _title(points, x, split), "yaxis.title.text": _title(points, y, split)}
    text = f"{y.name} over {x.name}" + (" (test)" if split == "test" else "")
    return {"label": text, "method": "update", "args": [data, titles]}
