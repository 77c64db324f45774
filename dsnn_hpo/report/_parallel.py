"""Hyperparameters and objectives as parallel coordinates."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dsnn_hpo.journal import History
from dsnn_hpo.report._columns import Column, column, hyperparameters
from dsnn_hpo.report._importance import Importance
from dsnn_hpo.report._plotly import new_figure
from dsnn_hpo.report._points import FAINT, GREY, INK, RED, points_of
from dsnn_hpo.report._words import label, readable
from dsnn_hpo.trial import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from plotly.graph_objects import Figure

_MOST_HYPERPARAMETERS = 10
_MOST_DECADES_WITH_2_AND_5 = 1.5
_NONE = -0.12
"""Where a line crosses the axis of a hyperparameter that its configuration does not have."""


@dataclass(frozen=True, slots=True)
class Coordinates:
    """What is drawn: axes from 0 to 1, and the lines across them.

    Attributes:
        titles: of the axes; hyperparameters first, then objectives.
        ticks: of each axis: where, and what is written there.
        results: one a line.
        heights: of each line, on each axis.
        on_front: which lines are the front's.
        n_left_out: hyperparameters that differ, too, and matter less.
    """

    titles: tuple[str, ...]
    ticks: tuple[tuple[tuple[float, str], ...], ...]
    results: tuple[Result, ...]
    heights: tuple[tuple[float, ...], ...]
    on_front: tuple[bool, ...]
    n_left_out: int


def coordinates_of(history: History, found: Importance | None) -> Coordinates | None:
    """Returns the parallel coordinates of all configurations at the front's fidelity; None while there are no two of them.

    Of many hyperparameters, the ten that matter most are shown; without importances, the first ten.
    """
    points = points_of(history)
    results = (*points.others, *points.front)
    columns = hyperparameters(results)
    if len(results) < 2 or not columns:
        return None
    kept = _most_important(columns, found)
    shown = [*kept, *(column(o.name, [r.values[o.name] for r in results]) for o in history.objectives)]
    scales = [_Scale.of(each) for each in shown]
    heights = np.stack([scale.heights(each) for scale, each in zip(scales, shown, strict=True)], axis=1)
    return Coordinates(
        titles=(*(each.name for each in kept), *(label(o) for o in history.objectives)),
        ticks=tuple(scale.ticks(each) for scale, each in zip(scales, shown, strict=True)),
        results=results,
        heights=tuple(map(tuple, heights.tolist())),
        on_front=(False,) * len(points.others) + (True,) * len(points.front),
        n_left_out=len(columns) - len(kept),
    )


def parallel_figure(coordinates: Coordinates) -> Figure:
    """Returns the lines as a figure; those of the front are red and lie above the others."""
    figure = new_figure()
    n = len(coordinates.titles)
    for red in (False, True):
        lines = [i for i, on_front in enumerate(coordinates.on_front) if on_front == red]
        figure.add_scatter(
            name="Pareto front" if red else "others",
            mode="lines+markers" if red else "lines",
            line={"color": RED if red else GREY, "width": 2.2 if red else 0.8},
            marker={"size": 7},
            opacity=1.0 if red else 0.45,
            x=[x for _ in lines for x in (*range(n), None)],
            y=[y for i in lines for y in (*(round(h, 4) for h in coordinates.heights[i]), None)],
            customdata=[id_ for i in lines for id_ in (*[coordinates.results[i].trial.id] * n, None)],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(
        annotations=_tick_texts(coordinates),
        shapes=[
            {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": {"color": GREY, "width": 1}, "layer": "below"}
            for x in range(n)
        ],
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"l": 40, "t": 40},
    )
    titles = [html.escape(title).replace("_", "<br>").replace(" ", "<br>") for title in coordinates.titles]
    figure.update_xaxes(tickvals=list(range(n)), ticktext=titles, tickangle=0, showgrid=False, range=[-0.4, n - 0.6])
    figure.update_xaxes(tickfont={"size": 12}, linecolor="white", ticks="")
    figure.update_yaxes(visible=False, range=[min(_NONE, 0) - 0.04, 1.04])
    return figure


def draw_parallel(drawing: Drawing, coordinates: Coordinates) -> None:
    """Draws the same."""
    axes = drawing.subplots()
    n = len(coordinates.titles)
    for heights, red in zip(coordinates.heights, coordinates.on_front, strict=True):
        looks: dict[str, Any] = {"color": RED, "linewidth": 1.6, "zorder": 3} if red else {"color": GREY, "alpha": 0.4}
        axes.plot(range(n), heights, **{"linewidth": 0.7, **looks})
    for x, ticks in enumerate(coordinates.ticks):
        axes.axvline(x, color=FAINT, linewidth=1, zorder=1)
        for y, text in ticks:
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
            axes.text(x + 0.04, y, text, va="center", fontsize=8, zorder=4, bbox=box)
    axes.set_xticks(range(n), [title.replace("_", "\n").replace(" ", "\n") for title in coordinates.titles])
    axes.tick_params(length=0, labelcolor=INK, labelsize=9)
    axes.set_xlim(-0.2, n - 0.5)
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _most_important(columns: Sequence[Column], found: Importance | None) -> list[Column]:
    if found is None:
        return list(columns[:_MOST_HYPERPARAMETERS])
    strength: dict[str, float] = {}
    for effects in found.effects.values():
        for effect in effects:
            if len(effect.names) == 1:
                strength[effect.names[0]] = max(strength.get(effect.names[0], 0.0), effect.share)
    kept = sorted(columns, key=lambda each: -strength.get(each.name, 0.0))[:_MOST_HYPERPARAMETERS]
    return [each for each in columns if each in kept]


@dataclass(frozen=True, slots=True)
class _Scale:
    """From a column's positions to heights: ``low`` is 0, ``high`` is 1."""

    low: float
    high: float

    @staticmethod
    def of(each: Column) -> _Scale:
        known = each.positions()
        known = known[~np.isnan(known)]
        low, high = float(known.min()), float(known.max())
        return _Scale(low, high) if high > low else _Scale(low - 0.5, high + 0.5)

    def heights(self, each: Column) -> np.ndarray[Any, np.dtype[np.float64]]:
        heights = (each.positions() - self.low) / (self.high - self.low)
        return np.where(np.isnan(heights), _NONE, heights)

    def ticks(self, each: Column) -> tuple[tuple[float, str], ...]:
        values = each.levels or (_round_numbers(self.low, self.high) if not each.log else _decades(self.low, self.high))
        ticks = [((each.position(v) - self.low) / (self.high - self.low), readable(v)) for v in values]
        if None in each.values:
            ticks.append((_NONE, "none"))
        return tuple((y, text) for y, text in ticks if _NONE <= y <= 1.001)


def _decades(low: float, high: float) -> list[float]:
    """Returns powers of ten, with their 2 and 5 where there are few, between two decimal logarithms."""
    factors = (1, 2, 5) if high - low < _MOST_DECADES_WITH_2_AND_5 else (1,)
    values = [factor * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for factor in factors]
    return [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]


def _round_numbers(low: float, high: float) -> list[float]:
    """Returns three to six round numbers between two others."""
    raw = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _tick_texts(coordinates: Coordinates) -> list[dict[str, Any]]:
    return [
        {
            "x": x,
            "y": y,
            "text": html.escape(text),
            "showarrow": False,
            "xanchor": "left",
            "xshift": 3,
            "font": {"size": 11},
            "bgcolor": "rgba(255,255,255,0.75)",
            "borderpad": 0,
        }
        for x, ticks in enumerate(coordinates.ticks)
        for y, text in ticks
    ]
