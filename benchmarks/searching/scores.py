"""From records of searches to scores: hypervolume over cost, as a share of the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dsnn_hpo.pareto import hypervolume
from searching.jobs import Record

Floats = npt.NDArray[np.float64]

COSTS = (15.0, 30.0, 60.0)
TOLERANCE = 1e-9


class MixedRecordsError(Exception):
    """Records that cannot be told apart."""


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
    """Shares of several entrants by seed, on those problems that all of them have.

    Attributes:
        problems: the first axis.
        labels: of the entrants, the second axis.
        costs: the third axis.
        seeds: the last axis.
        values: shape (n_problems, n_entrants, n_costs, n_seeds), NaN where an entrant lacks a seed; it has one at least.
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
        """Returns an entrant's median over its seeds on each problem, shape (n_problems,)."""
        return np.asarray(np.nanmedian(self.of(label)[:, self.costs.index(cost)], axis=-1))

    def means(self, cost: float) -> Floats:
        """Returns all means over seeds, shape (n_problems, n_entrants)."""
        return np.asarray(np.nanmean(self.values[:, :, self.costs.index(cost)], axis=-1))

    def n_seeds(self, label: str) -> tuple[int, int]:
        """Returns on how many seeds an entrant searched, on the problem with the fewest and on that with the most."""
        counts = np.isfinite(self.of(label)[:, 0]).sum(axis=-1)
        return int(counts.min(initial=len(self.seeds))), int(counts.max(initial=0))

    def paired(self) -> Scores:
        """Returns the same with those seeds only that every entrant has on every problem."""
        common = np.asarray(np.isfinite(self.values).all(axis=(0, 1, 2)))
        seeds = tuple(seed for seed, is_common in zip(self.seeds, common, strict=True) if is_common)
        return replace(self, seeds=seeds, values=self.values[..., common])


def chosen(records: Iterable[Record], n_workers: int, continues: bool) -> list[Record]:
    """Returns the records of a setting."""
    return [r for r in records if r.setting["n_workers"] == n_workers and r.setting["continues"] == continues]


def scores_of(records: Sequence[Record], costs: Sequence[float] = COSTS) -> Scores:
    """Returns the scores of records, all of one setting, on the problems that all entrants have.

    Raises:
        MixedRecordsError: an entrant has two searches of one seed and problem.
    """
    labels = tuple(dict.fromkeys(r.entrant for r in records))
    every = tuple(dict.fromkeys(r.problem for r in records))
    had = {(r.problem, r.entrant) for r in records}
    problems = tuple(problem for problem in every if all((problem, label) in had for label in labels))
    seeds = tuple(sorted({r.seed for r in records if r.problem in problems}))
    values = np.full((len(problems), len(labels), len(costs), len(seeds)), np.nan)
    for r in records:
        if r.problem in problems:
            place = problems.index(r.problem), labels.index(r.entrant), slice(None), seeds.index(r.seed)
            if np.isfinite(values[place]).any():
                raise MixedRecordsError(
                    f"{r.problem}, {r.entrant}, seed {r.seed}: two searches; of an entrant, a file of results holds one "
                    "budget and one setting"
                )
            values[place] = shares(r, costs)
    return Scores(problems, labels, tuple(costs), seeds, values, tuple(p for p in every if p not in problems))


def cost_to_reach(curve: Floats, costs: Sequence[float], goal: float) -> float | None:
    """Returns the least cost at which a curve is at least ``goal``; None if it never is.

    Args:
        curve: shares, shape (n_costs,).
        costs: ascending.
        goal: a share.
    """
    there = np.flatnonzero(curve >= goal - TOLERANCE)
    return float(costs[there[0]]) if len(there) else None
