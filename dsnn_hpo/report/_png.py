"""The front and the hypervolume as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._hypervolume import hypervolume_series
from dsnn_hpo.report._points import FAINT, GREY, GRID, INK, RED, Points, left_to_right, points_of, subtitle
from dsnn_hpo.report._words import epochs, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE_INCHES = (11.0, 5.0)
_FEWEST_DECADES_FOR_LOG = 1.2
_MOST_DECADES_WITH_2_AND_5 = 3


def front_png(history: History, width_px: int = 1760) -> bytes:
    """Returns a PNG: the front on the left, the hypervolume over the epochs trained on the right.

    Args:
        history: the run.
        width_px: the width of the picture, which is 2.2 times its height; below 900 the text is hard to read.
    """
    # Imported here, so that a table of the front does not wait for matplotlib. No pyplot: it keeps global state.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    points = points_of(history)
    dpi = width_px / _SIZE_INCHES[0]
    with rc_context({"font.family": ["DejaVu Sans"], "font.size": 10, "text.color": INK, "axes.labelcolor": INK}):
        layout = ConstrainedLayoutEngine(rect=(0.008, 0.01, 0.984, 0.86), wspace=0.05)
        figure = Figure(figsize=_SIZE_INCHES, dpi=dpi, facecolor="white", layout=layout)
        canvas = FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
        _draw_front(left, points, len(history.results))
        _draw_hypervolume(right, history)
        # A dollar sign in a name would start mathematics.
        name = history.header.name.replace("$", r"\$")
        figure.text(0.012, 0.975, name, va="top", fontsize=14, fontweight="bold")
        figure.text(0.012, 0.915, subtitle(history, points), va="top", color="#667085")
        buffer = io.BytesIO()
        canvas.print_figure(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _draw_front(axes: Axes, points: Points, n_results: int) -> None:
    if not points.front:
        text = "no trial has ended yet" if not n_results else f"none of {n_results} trials completed"
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=12)
        axes.set_axis_off()
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
    _dress(axes, "trial", points.label(objective, "validation"))
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
        x_bars, y_bars = ([interval(m, o.name) or 0.0 for m in front] for o in (x, y))
        axes.errorbar(xs, ys, y_bars, x_bars, fmt="none", ecolor=GREY, elinewidth=1, capsize=2, zorder=1)
    else:
        third = points.objectives[2]
        dots = axes.scatter(xs, ys, c=[m.values[third.name] for m in front], cmap="viridis", **marker)
        bar = axes.figure.colorbar(dots, ax=axes, pad=0.02, aspect=30, label=points.label(third))
        bar.outline.set_visible(False)
    tested = [m for m in front if y.name in m.test_values]
    if tested and len(points.objectives) == 2:
        test = [m.test_values[y.name] for m in tested]
        test_xs = [m.values[x.name] for m in tested]
        axes.scatter(
            test_xs, test, s=40, facecolors="none", edgecolors=RED, linewidths=1.2, zorder=3, label="on the test split"
        )
    _scale(axes, "x", (*xs, *others[0]))
    _scale(axes, "y", (*ys, *others[1]))
    _dress(axes, points.label(x), points.label(y, "validation" if y.name == "error" else ""))
    axes.legend(frameon=False, loc="best")


def _scale(axes: Axes, name: Literal["x", "y"], values: Sequence[float]) -> None:
    """Makes an axis logarithmic, with plain numbers on it, if its values span more than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if min(values) <= 0 or max(values) <= min(values) * 10**_FEWEST_DECADES_FOR_LOG:
        return
    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    narrow = max(values) < min(values) * 10**_MOST_DECADES_WITH_2_AND_5
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: readable(float(value))))
    axis.set_minor_formatter(NullFormatter())


def _draw_hypervolume(axes: Axes, history: History) -> None:
    series = hypervolume_series(history)
    _dress(axes, "epochs trained, all configurations", "relative hypervolume of the front")
    if not series:
        text = "no hypervolume yet:\ntoo few completed trials"
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="#667085")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    epochs, volumes = zip(*series, strict=True)
    axes.step(epochs, volumes, where="post", color=RED, linewidth=1.8)
    axes.fill_between(epochs, volumes, step="post", color=RED, alpha=0.08, linewidth=0)
    axes.set_ylim(0, max(volumes) * 1.08 or 1)
    axes.set_xlim(left=0)


def _dress(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", color=FAINT, labelcolor=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
