"""What the figures of a run show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsnn_hpo import pareto
from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import mixtures, optimality, quality
from dsnn_hpo.report._words import epochs, label
from dsnn_hpo.trial import Objective, Result

RED = "#c8102e"
GREY = "#98a2b3"
FAINT = "#cfd6e0"
INK = "#1d2939"
GRID = "#e9edf2"
SERIES = (RED, "#1f5fa8", "#d98200", "#2e7d5b", "#7a4fa3", "#5d6b7e", "#b5577a", "#3b9bb3")
"""Colours of what stands side by side: objectives, hyperparameters."""


@dataclass(frozen=True, slots=True)
class Points:
    """The results of a run as its figures show them: the front, the others beside it, those at lower fidelity."""

    objectives: tuple[Objective, ...]
    fidelity: int
    front: tuple[Result, ...]
    others: tuple[Result, ...]
    lower: tuple[Result, ...]
    chances: Mapping[int, float]
    warnings: tuple[str, ...]

    def label(self, objective: Objective, split: str = "") -> str:
        """Returns an axis' title, which says if the front's figures are estimated or modelled."""
        return label(objective, split, quality(self.front, objective))

    @property
    def axes(self) -> tuple[Objective, Objective]:
        """Returns the objectives of the x and the y axis: cost across, the first objective (the error) up."""
        return self.objectives[1], self.objectives[0]


def points_of(history: History) -> Points:
    """Returns what to show of a run; a configuration evaluated twice at one fidelity counts with its latest result."""
    fidelity = history.front_fidelity
    latest = {(r.trial.key, r.trial.fidelity): r for r in pareto.completed(history.latest_results())}.values()
    members = history.front()
    ids = {m.trial.id for m in members}
    return Points(
        objectives=history.objectives,
        fidelity=fidelity,
        front=tuple(members),
        others=tuple(r for r in latest if r.trial.fidelity == fidelity and r.trial.id not in ids),
        lower=tuple(r for r in latest if r.trial.fidelity < fidelity),
        chances=optimality(history),
        warnings=tuple(mixtures(members, history.objectives)),
    )


def left_to_right(members: Sequence[Result], x: Objective) -> list[Result]:
    """Returns the members in ascending order of an objective's value."""
    return sorted(members, key=lambda m: m.values[x.name])


def subtitle(history: History, points: Points) -> str:
    """Returns the line below a figure's title."""
    n_failed = sum(1 for r in history.results if not r.values)
    n_configs = len({r.trial.key for r in history.results})
    parts = [f"{len(points.front)} on the front", f"at {epochs(points.fidelity)}", f"{n_configs} configurations"]
    parts.append(f"{len(history.results)} trainings" + (f" ({n_failed} failed)" if n_failed else ""))
    parts += ["figures of different origin are MIXED"] if points.warnings else []
    return " · ".join(parts)
