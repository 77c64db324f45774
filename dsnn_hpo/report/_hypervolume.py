"""The hypervolume of the front over what the search has spent so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsnn_hpo import pareto
from dsnn_hpo.comparing import Box
from dsnn_hpo.journal import History, Lost, Mark, Told
from dsnn_hpo.trial import Objective, Result, TrialState


class RunningHypervolume:
    """The hypervolume of a run, result by result; ``value`` is None until there is a reference point.

    Normalised by the box between the reference point and the best of each objective among the first completed
    results (those that ``pareto.reference_point`` looks at): 1 is what a configuration would reach that is as good as the best of
    them in everything, and a search that improves on them goes beyond. The box never moves, so that the figure
    can be compared along one run; it cannot be compared between runs.

    The front is the one at the highest fidelity reached so far. Fronts of two fidelities are not compared: when a
    higher one opens, the figure stays until its front is better, and so it never falls.

    With a ``box`` of several runs it is the share of that one instead, and can be compared between them.
    """

    def __init__(self, objectives: Sequence[Objective], box: Box | None = None) -> None:
        self._objectives = objectives
        self._first: list[Result] = []
        self._fidelity = 0
        self._front: pareto.Losses = np.empty((0, len(objectives)))
        self._reference: pareto.Losses | None = None if box is None else box.reference
        self._box = 0.0 if box is None else box.volume
        self.n_epochs = 0
        self.value: float | None = None

    def add(self, result: Result) -> None:
        """Takes the next result that was told, completed or failed."""
        self.n_epochs += result.n_epochs
        if result.state is not TrialState.COMPLETED:
            return
        if result.trial.fidelity > self._fidelity:
            self._fidelity, self._front = result.trial.fidelity, self._front[:0]
        news = result.trial.fidelity == self._fidelity and self._takes(result)
        if self._reference is None:
            self._first.append(result)
            self._fix_reference()
        elif news:
            self._measure()

    def _takes(self, result: Result) -> bool:
        """Returns whether a result at the highest fidelity joins the front there, and keeps it."""
        losses = pareto.losses_of([result], self._objectives)[0]
        if (self._front <= losses).all(axis=1).any():
            return False
        self._front = np.vstack([self._front[~(losses <= self._front).all(axis=1)], losses])
        return True

    def _fix_reference(self) -> None:
        self._reference = pareto.reference_point(self._first, self._objectives)
        if self._reference is not None:
            ideal = pareto.losses_of(self._first, self._objectives).min(axis=0)
            self._box = math.prod((self._reference - ideal).tolist())
            self._measure()

    def _measure(self) -> None:
        assert self._reference is not None
        volume = pareto.hypervolume(self._front, self._reference) / self._box
        self.value = max(self.value or 0.0, volume)


@dataclass(frozen=True, slots=True)
class HypervolumePoint:
    """The hypervolume after a result: relative, see ``RunningHypervolume``.

    Attributes:
        n_epochs: trained so far, those of failed trials too.
        energy_j: spent so far: training and measuring, failed trials, lost attempts, and the driver up to its last pause.
        value: never falls.
    """

    n_epochs: int
    energy_j: float
    value: float


def hypervolume_points(history: History) -> list[HypervolumePoint]:
    """Returns the hypervolume after each result, once there is a reference point; the last one is that of the last result."""
    running = RunningHypervolume(history.objectives)
    points, energy_j = [], 0.0
    for event in history.events:
        if isinstance(event, Lost | Mark):
            energy_j += event.energy_j
        elif isinstance(event, Told):
            energy_j += event.result.energy_j + event.result.measuring_energy_j
            running.add(event.result)
            if running.value is not None:
                points.append(HypervolumePoint(running.n_epochs, energy_j, running.value))
    return points


def hypervolume_series(history: History) -> list[tuple[int, float]]:
    """Returns (epochs trained so far, hypervolume) of ``hypervolume_points``."""
    return [(point.n_epochs, point.value) for point in hypervolume_points(history)]


def hypervolume_in(history: History, box: Box) -> list[tuple[int, float]]:
    """Returns (epochs trained so far, share of a box of several runs) after each result, once there is a front.

    By the latest figures, as that of the final fronts is: with hindsight where a front was measured again.
    """
    running = RunningHypervolume(history.objectives, box)
    series = []
    for result in history.latest_results():
        running.add(result)
        if running.value is not None:
            series.append((running.n_epochs, running.value))
    return series
