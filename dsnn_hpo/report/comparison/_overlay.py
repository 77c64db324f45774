"""What the pictures of a comparison show, whatever draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsnn_hpo.report._points import left_to_right
from dsnn_hpo.report.comparison._compare import QUARTILES, ComparedRun, Comparison, Group, anytime_quartiles, attainment
from dsnn_hpo.trial import Objective, Result

COLOURS = ("#c8102e", "#1f5fa8", "#2e7d32", "#e07b00", "#6a3d9a", "#00838f", "#8d6e63", "#ad1457")


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, from left to right, and what it is called."""

    name: str
    colour: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Overlay:
    """What a picture shows.

    Attributes:
        axes: the objectives across and up.
        are_lines: whether a front is a line; of three and more objectives it is a cloud.
        fronts: of each run, left to right, with their colours; a group has one.
        surfaces: of each group: its median, and the two quartiles around it.
        anytime: of each run or group: (epochs, lower, middle, upper); a run's three are equal.
    """

    axes: tuple[Objective, Objective]
    are_lines: bool
    fronts: tuple[tuple[ComparedRun, str, tuple[Result, ...]], ...]
    surfaces: tuple[tuple[Line, Line, Line], ...]
    anytime: tuple[tuple[str, str, tuple[tuple[int, float, float, float], ...]], ...]


def overlay_of(comparison: Comparison) -> Overlay:
    """Returns what to draw of a comparison of at least two objectives."""
    y, x = comparison.objectives[:2]
    colours = _colours(comparison)
    fronts = tuple((run, colours[run.label], tuple(left_to_right(run.front, x))) for run in comparison.runs)
    return Overlay(
        axes=(x, y),
        are_lines=len(comparison.objectives) == 2,
        fronts=fronts,
        surfaces=tuple(_surfaces(comparison, group, colours[group.labels[0]]) for group in comparison.groups),
        anytime=tuple(anytime_of(comparison)),
    )


def anytime_of(comparison: Comparison) -> list[tuple[str, str, tuple[tuple[int, float, float, float], ...]]]:
    """Returns for each group, or for each run, its name, its colour, and (epochs, lower quartile, median, upper quartile)."""
    colours = _colours(comparison)
    if not comparison.groups:
        return [(r.label, colours[r.label], tuple((n, v, v, v) for n, v in r.anytime)) for r in comparison.runs]
    return [
        (group.name, colours[group.labels[0]], tuple(anytime_quartiles(_runs_of(comparison, group))))
        for group in comparison.groups
    ]


def _runs_of(comparison: Comparison, group: Group) -> list[ComparedRun]:
    return [run for run in comparison.runs if run.label in group.labels]


def _colours(comparison: Comparison) -> dict[str, str]:
    parts: Sequence[Sequence[str]] = [group.labels for group in comparison.groups]
    parts = parts or [(run.label,) for run in comparison.runs]
    return {label: COLOURS[i % len(COLOURS)] for i, labels in enumerate(parts) for label in labels}


def _surfaces(comparison: Comparison, group: Group, colour: str) -> tuple[Line, Line, Line]:
    y, x = comparison.objectives[:2]
    lines = []
    for level in QUARTILES:
        corners = attainment(comparison, group, level).tolist()
        # The loss of a loss is the value again.
        points = sorted((x.loss(a), y.loss(b)) for a, b in corners)
        xs, ys = zip(*points, strict=True) if points else ((), ())
        lines.append(Line(f"{group.name}, {level:.0%} of runs", colour, tuple(xs), tuple(ys)))
    lower, median, upper = lines
    return lower, median, upper
