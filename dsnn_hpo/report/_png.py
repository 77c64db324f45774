"""The front and the hypervolume as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._hypervolume_figure import draw_hypervolume
from dsnn_hpo.report._matplotlib import QUIET, Canvas, dress, picture, say, scale
from dsnn_hpo.report._points import GREY, RED, Points, left_to_right, points_of, subtitle
from dsnn_hpo.report._words import epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES = (11.0, 5.0)


def front_png(history: History, width_px: int = 1760) -> bytes:
    """Returns a PNG: the front on the left, the hypervolume over the epochs trained on the right.

    Args:
        history: the run.
        width_px: the width of the picture, which is 2.2 times its height; below 900 the text is hard to read.
    """
    points = points_of(history)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
        draw_front(left, history)
        draw_hypervolume(right, history)
        figure.text(0.012, 0.975, history.header.name, va="top", fontsize=14, fontweight="bold")
        figure.text(0.012, 0.915, subtitle(history, points), va="top", color=QUIET)

    return picture(draw, Canvas(*_SIZE_INCHES, room_above=0.13), width_px=width_px)


def draw_front(axes: Axes, history: History) -> None:
    """Draws the front."""
    points, n_results = points_of(history), len(history.results)
    if not points.front:
        text = "no trial has ended yet" if not n_results else f"none of {n_results} trials completed"
        say(axes, text)
    elif len(points.objectives) == 1:
        _draw_one(axes, points)
    else:
        _draw_two(axes, points)


def _draw_one(axes: Axes, points: Points) -> None:
    (objective,) = points.objectives
    ordered = sorted((*points.front, *points.others), key=lambda r: r.trial.id)
    ids = [r.trial.id for r in ordered]
    values = [r.values[objective.name] for r in ordered]
    better = min if objective.goal == "minimize" else max
    best = [better(values[: i + 1]) for i in range(len(values))]
    axes.scatter(ids, values, s=30, color=GREY, alpha=0.75, linewidths=0, label="trials")
    axes.step(ids, best, where="post", color=RED, linewidth=1.8, label="best so far")
    dress(axes, "trial", points.label(objective, "validation"))
    axes.legend(frameon=False)


def _draw_two(axes: Axes, points: Points) -> None:
    x, y = points.axes
    front = left_to_right(points.front, x)
    xs, ys = [m.values[x.name] for m in front], [m.values[y.name] for m in front]
    others = ([r.values[x.name] for r in points.others], [r.values[y.name] for r in points.others])
    axes.scatter(*others, s=26, color=GREY, alpha=0.7, linewidths=0, label=epochs(points.fidelity))
    marker: dict[str, Any] = {"s": 64, "edgecolors": "white", "linewidths": 1.2, "zorder": 3, "label": "Pareto front"}
    if len(points.objectives) == 2:
        where: Literal["post", "pre"] = "post" if x.goal == "minimize" else "pre"
        axes.step(xs, ys, where=where, color=RED, linewidth=1.8, zorder=2)
        axes.scatter(xs, ys, color=RED, **marker)
    else:
        third = points.objectives[2]
        dots = axes.scatter(xs, ys, c=[m.values[third.name] for m in front], cmap="viridis", **marker)
        bar = axes.figure.colorbar(dots, ax=axes, pad=0.02, aspect=30, label=points.label(third))
        bar.outline.set_visible(False)
    x_bars, y_bars = ([interval(m, o.name) or 0.0 for m in front] for o in (x, y))
    axes.errorbar(xs, ys, y_bars, x_bars, fmt="none", ecolor=GREY, elinewidth=1, capsize=2, zorder=1)
    tested = [m for m in front if y.name in m.test_values]
    if tested and len(points.objectives) == 2:
        test = [m.test_values[y.name] for m in tested]
        test_xs = [m.values[x.name] for m in tested]
        axes.scatter(
            test_xs, test, s=40, facecolors="none", edgecolors=RED, linewidths=1.2, zorder=3, label="on the test split"
        )
    scale(axes, "x", (*xs, *others[0]))
    scale(axes, "y", (*ys, *others[1]))
    dress(axes, points.label(x), points.label(y, "validation" if y.name == "error" else ""))
    axes.legend(frameon=False, loc="best")
