"""From records of searches to scores: hypervolume over cost, as a share of the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsnn_hpo.pareto import hypervolume
from searching.jobs import Record

Floats = npt.NDArray[np.float64]

COSTS = (15.0, 30.0, 60.0)
TOLERANCE = 1e-9


def shares(record: Record, costs: Sequence[float]) -> Floats:
    """Returns the share of the best hypervolume that a search had reached at each cost, shape (n_costs,); costs ascend.

    Of the true losses of the configurations that it had trained to the end.
    """
    points = sorted(record.points)
    reached: list[float] = []
    # The hypervolume changes only where a point is added that is better than the reference.
    n_before, value = 0, 0.0
    for cost in costs:
        n = int(np.searchsorted([point[0] for point in points], cost + TOLERANCE, side="right"))
        if n > n_before:
            value = hypervolume(np.asarray([point[2:] for point in points[:n]]), record.reference) / record.best
            n_before = n
        reached.append(value)
    return np.asarray(reached, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Shares of several entrants on several problems, by seed: those seeds and problems that all of them have.

    Attributes:
        problems: the first axis.
        labels: of the entrants, the second axis.
        costs: the third axis.
        seeds: the last axis.
        values: shape (n_problems, n_entrants, n_costs, n_seeds).
        left_out: problems that not every entrant has.
    """

    problems: tuple[str, ...]
    labels: tuple[str, ...]
    costs: tuple[float, ...]
    seeds: tuple[int, ...]
    values: Floats
    left_out: tuple[str, ...] = ()

    def of(self, label: str) -> Floats:
        """Returns an entrant's shares, shape (n_problems, n_costs, n_seeds)."""
        return np.asarray(self.values[:, self.labels.index(label)])

    def medians(self, label: str, cost: float) -> Floats:
        """Returns an entrant's median over seeds on each problem, shape (n_problems,)."""
        return np.asarray(np.median(self.of(label)[:, self.costs.index(cost)], axis=-1))

    def means(self, cost: float) -> Floats:
        """Returns all means over seeds, shape (n_problems, n_entrants)."""
        return np.asarray(self.values[:, :, self.costs.index(cost)].mean(axis=-1))


def chosen(records: Iterable[Record], n_workers: int, continues: bool) -> list[Record]:
    """Returns the records of a setting."""
    return [r for r in records if r.setting["n_workers"] == n_workers and r.setting["continues"] == continues]


def scores_of(records: Sequence[Record], costs: Sequence[float] = COSTS) -> Scores:
    """Returns the scores of records, all of one setting, on the problems and over the seeds that all entrants have."""
    by_key = {(r.problem, r.entrant, r.seed): r for r in records}
    labels = tuple(dict.fromkeys(r.entrant for r in records))
    every = tuple(dict.fromkeys(r.problem for r in records))
    seeds = {
        problem: set.intersection(
            *({r.seed for r in records if (r.problem, r.entrant) == (problem, e)} for e in labels)
        )
        for problem in every
    }
    problems = tuple(problem for problem in every if seeds[problem])
    common = tuple(sorted(set.intersection(*(seeds[problem] for problem in problems)))) if problems else ()
    values = np.zeros((len(problems), len(labels), len(costs), len(common)))
    for i, problem in enumerate(problems):
        for j, label in enumerate(labels):
            for k, seed in enumerate(common):
                values[i, j, :, k] = shares(by_key[problem, label, seed], costs)
    return Scores(problems, labels, tuple(costs), common, values, tuple(p for p in every if p not in problems))


def cost_to_reach(curve: Floats, costs: Sequence[float], goal: float) -> float | None:
    """Returns the least cost at which a curve is at least ``goal``; None if it never is.

    Args:
        curve: shares, shape (n_costs,).
        costs: ascending.
        goal: a share.
    """
    there = np.flatnonzero(curve >= goal - TOLERANCE)
    return float(costs[there[0]]) if len(there) else None
