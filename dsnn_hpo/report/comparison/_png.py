"""A comparison as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dsnn_hpo.report._matplotlib import Canvas, dress, picture, scale
from dsnn_hpo.report._points import GREY, INK
from dsnn_hpo.report._words import label
from dsnn_hpo.report.comparison._compare import Comparison
from dsnn_hpo.report.comparison._overlay import Overlay, anytime_of, overlay_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CANVAS = Canvas(11.0, 5.0)
_MANY = 8


def comparison_png(comparison: Comparison, width_px: int = 1760) -> bytes:
    """Returns a PNG: the fronts over each other on the left, their hypervolumes over the epochs trained on the right.

    Groups over seeds have their members as dots, and the surfaces that half of the runs attain as lines, a quarter and
    three quarters as thin ones. Members of the joint front are full, others hollow.

    Args:
        comparison: of runs.
        width_px: the width of the picture, which is 2.2 times its height.
    """

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
        if len(comparison.objectives) > 1:
            _draw_fronts(left, comparison, overlay_of(comparison))
        else:
            _draw_best(left, comparison)
        _draw_anytime(right, comparison)

    return picture(draw, _CANVAS, width_px=width_px)


def _draw_fronts(axes: Axes, comparison: Comparison, shown: Overlay) -> None:
    x, y = shown.axes
    survives = {(run, member.trial.id) for run, member in comparison.joint}
    where: Literal["post", "pre"] = "post" if x.goal == "minimize" else "pre"
    for run, colour, front in shown.fronts:
        xs, ys = [m.values[x.name] for m in front], [m.values[y.name] for m in front]
        fills = [colour if (run.label, m.trial.id) in survives else "white" for m in front]
        title = None if shown.surfaces else _plain(run.label)
        size = 22 if shown.surfaces else 56
        axes.scatter(xs, ys, s=size, c=fills, edgecolors=colour, linewidths=1.2, zorder=3, label=title)
        if shown.are_lines and not shown.surfaces:
            axes.step(xs, ys, where=where, color=colour, linewidth=1.6, zorder=2)
    for lines in shown.surfaces:
        for line, width in zip(lines, (0.8, 2.2, 0.8), strict=True):
            title = _plain(line.name) if width > 1 else None
            style = "-" if width > 1 else "--"
            axes.step(line.x, line.y, where=where, color=line.colour, linewidth=width, linestyle=style, label=title)
    members = [m for _, _, front in shown.fronts for m in front]
    scale(axes, "x", [m.values[x.name] for m in members])
    scale(axes, "y", [m.values[y.name] for m in members])
    dress(axes, label(x), label(y, "validation" if y.name == "error" else ""))
    _legend(axes, "joint front: full")


def _draw_best(axes: Axes, comparison: Comparison) -> None:
    (objective,) = comparison.objectives
    best = [run.front[0].values[objective.name] for run in comparison.runs]
    colours = {name: colour for name, colour, _ in anytime_of(comparison)}
    groups = {label: group.name for group in comparison.groups for label in group.labels}
    shown = [colours[groups.get(run.label, run.label)] for run in comparison.runs]
    axes.scatter(range(len(best)), best, s=56, c=shown)
    axes.set_xticks(range(len(best)), [_plain(run.label) for run in comparison.runs], rotation=45, ha="right")
    dress(axes, "", label(objective, "validation"))


def _draw_anytime(axes: Axes, comparison: Comparison) -> None:
    for name, colour, rows in anytime_of(comparison):
        epochs, lower, middle, upper = zip(*rows, strict=True)
        axes.step(epochs, middle, where="post", color=colour, linewidth=1.8, label=_plain(name))
        axes.fill_between(epochs, lower, upper, step="post", color=colour, alpha=0.12, linewidth=0)
    dress(axes, "epochs trained, all configurations", "hypervolume, share of the common box")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _legend(axes, "median and quartiles" if comparison.groups else "")


def _legend(axes: Axes, title: str) -> None:
    _, names = axes.get_legend_handles_labels()
    if len(names) <= _MANY:
        axes.legend(frameon=False, loc="best", title=title or None, title_fontsize=9, labelcolor=INK)
    else:
        axes.set_title(f"{len(names)} runs", fontsize=10, color=GREY)


def _plain(text: str) -> str:
    # A leading underscore hides a label.
    return text.lstrip("_") or "run"
