"""How ranks changed from fidelity to fidelity: what the short trainings were worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dsnn_hpo import pareto
from dsnn_hpo.journal import History
from dsnn_hpo.report._importance import rank_correlation
from dsnn_hpo.report._matplotlib import dress
from dsnn_hpo.report._plotly import menu, new_figure
from dsnn_hpo.report._points import GREY, INK, RED
from dsnn_hpo.report._words import epochs, label
from dsnn_hpo.trial import Objective, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from plotly.graph_objects import Figure

_FEWEST = 2
_GAP = 1.5


@dataclass(frozen=True, slots=True)
class Step:
    """The configurations that were trained at both of two neighbouring fidelities.

    Attributes:
        below: their results at the lower one.
        above: at the higher one, in the same order.
        on_front: which of them are on the front.
    """

    below: tuple[Result, ...]
    above: tuple[Result, ...]
    on_front: tuple[bool, ...]

    @property
    def fidelities(self) -> tuple[int, int]:
        """Returns both, in epochs."""
        return self.below[0].trial.fidelity, self.above[0].trial.fidelity

    def ranks(self, objective: Objective) -> tuple[list[int], list[int]]:
        """Returns the ranks at both, from 1, the best, among these configurations alone."""
        return _ranks(self.below, objective), _ranks(self.above, objective)

    def correlation(self, objective: Objective) -> float:
        """Returns Spearman's rho of the two, -1 to 1."""
        below, above = (np.array([r.values[objective.name] for r in side]) for side in (self.below, self.above))
        return rank_correlation(below, above)


def steps_of(history: History) -> list[Step]:
    """Returns a step for each two neighbouring fidelities at which two configurations or more were trained."""
    found: dict[int, dict[str, Result]] = {}
    for result in pareto.completed(history.latest_results()):
        found.setdefault(result.trial.fidelity, {})[result.trial.key] = result
    members = {member.trial.key for member in history.front()}
    steps = []
    for low, high in pairwise(sorted(found)):
        keys = [key for key in found[high] if key in found[low]]
        if len(keys) >= _FEWEST:
            below, above = (tuple(found[fidelity][key] for key in keys) for fidelity in (low, high))
            steps.append(Step(below, above, tuple(key in members for key in keys)))
    return steps


def correlations(steps: Sequence[Step], objective: Objective) -> str:
    """Returns a sentence on how well the ranks of an objective hold from each fidelity to the next."""
    parts = [
        f"{s.fidelities[0]} to {epochs(s.fidelities[1])}: {s.correlation(objective):.2f} (of {len(s.above)})"
        for s in steps
    ]
    return f"Rank correlation of the {label(objective).partition(' (')[0]}, {'; '.join(parts)}."


def rungs_figure(steps: Sequence[Step], objectives: Sequence[Objective]) -> Figure:
    """Returns a line a configuration between neighbouring fidelities, with a button for each objective."""
    figure = new_figure()
    for red in (False, True):
        figure.add_scatter(
            name="Pareto front" if red else "others",
            mode="lines+markers",
            line={"color": RED if red else GREY, "width": 2.2 if red else 1},
            marker={"size": 8 if red else 5},
            opacity=1.0 if red else 0.6,
            customdata=_spread([[s.below[i].trial.id, s.above[i].trial.id] for s in steps for i in _rows(s, red)]),
            hovertemplate="%{text}<extra></extra>",
            x=_spread([[x, x + 1] for x, s in zip(_places(steps), steps, strict=True) for _ in _rows(s, red)]),
            y=_heights(steps, objectives[0], red),
        )
    buttons = [
        {
            "label": label(o).partition(" (")[0],
            "method": "update",
            "args": [{"y": [_heights(steps, o, red) for red in (False, True)]}, {"annotations": _notes(steps, o)}],
        }
        for o in objectives
    ]
    figure.update_layout(annotations=_notes(steps, objectives[0]), margin={"t": 70}, legend={"y": -0.12})
    if len(objectives) > 1:
        figure.update_layout(updatemenus=[{**menu("buttons", buttons, 0.0), "y": 1.1}])
    ticks = [x + side for x in _places(steps) for side in (0, 1)]
    texts = [epochs(fidelity) for s in steps for fidelity in s.fidelities]
    figure.update_xaxes(tickvals=ticks, ticktext=texts, showgrid=False, range=[-0.3, ticks[-1] + 0.3])
    figure.update_yaxes(tickvals=[0, 1], ticktext=["best", "worst"], range=[1.05, -0.05], showgrid=False)
    return figure


def draw_rungs(drawing: Drawing, steps: Sequence[Step], objectives: Sequence[Objective]) -> None:
    """Draws the same, a row of axes an objective."""
    grid = drawing.subplots(len(objectives), 1, squeeze=False)
    for (axes,), objective in zip(grid, objectives, strict=True):
        _draw(axes, steps, objective)


def _draw(axes: Axes, steps: Sequence[Step], objective: Objective) -> None:
    for red in (False, True):
        looks: dict[str, Any] = {"color": RED if red else GREY, "linewidth": 1.8 if red else 0.8, "markersize": 4}
        xs = _spread([[x, x + 1] for x, s in zip(_places(steps), steps, strict=True) for _ in _rows(s, red)])
        numbers = [[np.nan if v is None else v for v in values] for values in (xs, _heights(steps, objective, red))]
        axes.plot(*numbers, marker="o", alpha=1.0 if red else 0.6, label="Pareto front" if red else "others", **looks)
    dress(axes, "", f"rank by {label(objective).partition(' (')[0]}")
    for x, step in zip(_places(steps), steps, strict=True):
        axes.text(x + 0.5, -0.08, _rho(step, objective), ha="center", color=INK)
    ticks = [x + side for x in _places(steps) for side in (0, 1)]
    axes.set_xticks(ticks, [epochs(fidelity) for s in steps for fidelity in s.fidelities])
    axes.set_yticks([0, 1], ["best", "worst"])
    axes.set_ylim(1.05, -0.15)
    axes.grid(visible=False)


def _ranks(results: Sequence[Result], objective: Objective) -> list[int]:
    losses = [objective.loss(r.values[objective.name]) for r in results]
    rank = np.empty(len(losses), dtype=np.int64)
    rank[np.argsort(losses, kind="stable")] = np.arange(1, len(losses) + 1)
    return [int(each) for each in rank]


def _rows(step: Step, red: bool) -> list[int]:
    return [i for i, on_front in enumerate(step.on_front) if on_front == red]


def _places(steps: Sequence[Step]) -> list[float]:
    return [i * (1 + _GAP) for i in range(len(steps))]


def _heights(steps: Sequence[Step], objective: Objective, red: bool) -> list[Any]:
    """Returns the ends of the lines: from 0, the best, to 1."""
    lines = []
    for step in steps:
        below, above = step.ranks(objective)
        n = len(below) - 1
        lines += [[(below[i] - 1) / n, (above[i] - 1) / n] for i in _rows(step, red)]
    return _spread(lines)


def _spread(pieces: Sequence[Sequence[Any]]) -> list[Any]:
    """Returns the pieces in one list with a gap behind each, so that one trace draws many lines."""
    return [value for piece in pieces for value in (*piece, None)]


def _notes(steps: Sequence[Step], objective: Objective) -> list[dict[str, Any]]:
    return [
        {"x": x + 0.5, "y": 1.0, "yref": "paper", "yanchor": "bottom", "showarrow": False, "text": _rho(s, objective)}
        for x, s in zip(_places(steps), steps, strict=True)
    ]


def _rho(step: Step, objective: Objective) -> str:
    return f"ρ = {step.correlation(objective):.2f}"
