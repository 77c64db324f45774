"""Runs side by side: their fronts, what survives in the joint one, what they cost, and over seeds whether they differ."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from dsnn_hpo import comparing, pareto
from dsnn_hpo.comparing import Box, Difference
from dsnn_hpo.errors import InputError
from dsnn_hpo.report._hypervolume import hypervolume_in
from dsnn_hpo.report.comparison._comparable import Runs, doubts, require_comparable, seed_of
from dsnn_hpo.trial import Objective, Result

QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the runs.

    Attributes:
        label: what the comparison calls it.
        experiment: the name of its experiment.
        seed: of the experiment.
        front: its members, best first objective first.
        n_joint: how many of them are on the joint front.
        hypervolume: of its front, the share of the common box.
        anytime: (epochs trained so far, hypervolume) after each result.
        n_trials: told, failed ones too.
        n_failed: trials.
        n_epochs: trained.
        energy_j: of the study.
        running_s: seconds during which a driver was at work.
    """

    label: str
    experiment: str
    seed: int
    front: tuple[Result, ...]
    n_joint: int
    hypervolume: float
    anytime: tuple[tuple[int, float], ...]
    n_trials: int
    n_failed: int
    n_epochs: int
    energy_j: float
    running_s: float


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in their seed: their labels, and the mean and standard deviation of their hypervolumes."""

    name: str
    labels: tuple[str, ...]
    mean: float
    deviation: float | None


@dataclass(frozen=True, slots=True)
class GroupTest:
    """Whether the hypervolumes of two groups differ; the second test, of pairs, needs runs with equal seeds."""

    one: str
    other: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        objectives: of all runs, in the order of the first.
        box: in which hypervolumes are measured, in losses.
        runs: in the order given.
        joint: the members of the front of all runs together, each with the label of its run.
        coverage: by (label, label): the share of the second run's front that the first one's dominates or equals.
        groups: runs over seeds; empty if each run stands for itself.
        tests: of each pair of groups with at least two runs each.
        warnings: what casts doubt on the comparison.
    """

    objectives: tuple[Objective, ...]
    box: Box
    runs: tuple[ComparedRun, ...]
    joint: tuple[tuple[str, Result], ...]
    coverage: Mapping[tuple[str, str], float]
    groups: tuple[Group, ...]
    tests: tuple[GroupTest, ...]
    warnings: tuple[str, ...]

    def losses(self, label: str) -> pareto.Losses:
        """Returns the losses of a run's front, shape (n, m)."""
        (front,) = (run.front for run in self.runs if run.label == label)
        return pareto.losses_of(front, self.objectives)


def compare_runs(runs: Runs, against: Sequence[str] = ()) -> Comparison:
    """Returns how runs compare, by validation figures.

    Runs are grouped over seeds: into those named by ``against`` and the others, or, without it, by the names of their
    experiments if there are several names and one of them has several runs. Otherwise each stands for itself.

    Args:
        runs: by label, at least two.
        against: labels of the runs that form the second group.

    Raises:
        InputError: there are too few runs, or they cannot be compared.
    """
    if len(runs) < 2:
        raise InputError("a comparison takes at least two runs")
    require_comparable(runs)
    grouped = _grouped(runs, against)
    objectives = next(iter(runs.values())).objectives
    fronts = {label: pareto.losses_of(history.front(), objectives) for label, history in runs.items()}
    box = comparing.common_box(list(fronts.values()))
    joint = _joint(runs, fronts)
    compared = tuple(_compared(label, runs, fronts[label], box, [one for one, _ in joint]) for label in runs)
    return Comparison(
        objectives=objectives,
        box=box,
        runs=compared,
        joint=joint,
        coverage={(a, b): comparing.coverage(fronts[a], fronts[b]) for a in runs for b in runs if a != b},
        groups=tuple(_group(name, labels, compared) for name, labels in grouped.items()),
        tests=tuple(_tests(grouped, compared)),
        warnings=tuple(doubts(runs, grouped)),
    )


def _grouped(runs: Runs, against: Sequence[str]) -> dict[str, tuple[str, ...]]:
    names = {label: history.header.name for label, history in runs.items()}
    if against:
        parts = [tuple(label for label in runs if label not in against), tuple(against)]
        found = [{names[label] for label in labels} for labels in parts]
        one_name_each = all(len(each) == 1 for each in found) and found[0] != found[1]
        titles = [*found[0], *found[1]] if one_name_each else ["the first runs", "those against them"]
        return dict(zip(titles, parts, strict=True))
    by_name = {name: tuple(label for label in runs if names[label] == name) for name in names.values()}
    return by_name if 1 < len(by_name) < len(runs) else {}


def _joint(runs: Runs, fronts: Mapping[str, pareto.Losses]) -> tuple[tuple[str, Result], ...]:
    members = [(label, member) for label, history in runs.items() for member in history.front()]
    losses = np.concatenate(list(fronts.values()))
    kept = np.flatnonzero(pareto.non_dominated(losses))
    return tuple(members[i] for i in sorted(kept, key=lambda i: tuple(losses[i])))


def _compared(label: str, runs: Runs, losses: pareto.Losses, box: Box, joint: Sequence[str]) -> ComparedRun:
    history = runs[label]
    return ComparedRun(
        label=label,
        experiment=history.header.name,
        seed=seed_of(history),
        front=tuple(history.front()),
        n_joint=joint.count(label),
        hypervolume=box.share(losses),
        anytime=tuple(hypervolume_in(history, box)),
        n_trials=len(history.results),
        n_failed=sum(1 for result in history.results if not result.values),
        n_epochs=history.n_epochs,
        energy_j=history.energy_j,
        running_s=history.running_s,
    )


def _group(name: str, labels: tuple[str, ...], runs: Sequence[ComparedRun]) -> Group:
    volumes = [run.hypervolume for run in runs if run.label in labels]
    return Group(name, labels, statistics.fmean(volumes), statistics.stdev(volumes) if len(volumes) > 1 else None)


def _tests(grouped: Mapping[str, tuple[str, ...]], runs: Sequence[ComparedRun]) -> list[GroupTest]:
    tests = []
    for one, other in combinations(grouped, 2):
        first, second = ([run for run in runs if run.label in grouped[name]] for name in (one, other))
        if min(len(first), len(second)) < 2:
            continue
        volumes = [[run.hypervolume for run in each] for each in (first, second)]
        differences = [comparing.mann_whitney(*volumes)]
        if pairs := _pairs(first, second):
            differences.append(comparing.wilcoxon([a for a, _ in pairs], [b for _, b in pairs]))
        tests.append(GroupTest(one, other, tuple(differences)))
    return tests


def _pairs(one: Sequence[ComparedRun], other: Sequence[ComparedRun]) -> list[tuple[float, float]]:
    """Returns the hypervolumes of runs with equal seeds, which split the data equally; nothing if they do not all pair up."""
    first, second = ({run.seed: run.hypervolume for run in each} for each in (one, other))
    if first.keys() != second.keys() or len(first) != len(one) or len(second) != len(other):
        return []
    return [(first[seed], second[seed]) for seed in sorted(first)]


def anytime_quartiles(runs: Sequence[ComparedRun]) -> list[tuple[int, float, float, float]]:
    """Returns (epochs, lower quartile, median, upper quartile) of the hypervolumes of runs, over the epochs of any of them.

    A run that has ended keeps its last value, one that has no front yet has none: 0.
    """
    epochs = sorted({n for run in runs for n, _ in run.anytime})
    rows = np.array([[_value_at(run.anytime, n) for n in epochs] for run in runs])
    quartiles = np.quantile(rows, QUARTILES, axis=0)
    return [(n, *map(float, column)) for n, column in zip(epochs, quartiles.T, strict=True)]  # type: ignore[misc]


def _value_at(series: Sequence[tuple[int, float]], n_epochs: int) -> float:
    return max((value for n, value in series if n <= n_epochs), default=0.0)


def attainment(comparison: Comparison, group: Group, level: float) -> pareto.Losses:
    """Returns the surface that a share of a group's runs attains in the second and the first objective, in losses.

    Shape (k, 2), as the figures have it: the second objective across, the first one up. Of more than two objectives the
    others may be anything.
    """
    fronts = [comparison.losses(label)[:, [1, 0]] for label in group.labels]
    return comparing.attainment_surface(fronts, level)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Returns the comparison as JSON-serialisable dictionaries.

    ``objectives``, ``ideal`` and ``reference`` (of the common box, in the objectives' units), ``runs`` (each with its
    ``front``: trial, values), ``joint``, ``coverage`` (``[{"of", "by", "share"}]``), ``groups`` (with ``attainment``: the
    corners of the quartile surfaces in the first two objectives, and ``anytime``), ``tests`` and ``warnings``.
    """
    names = [objective.name for objective in comparison.objectives]

    def values(losses: pareto.Losses) -> dict[str, float]:
        return {o.name: o.loss(float(loss)) for o, loss in zip(comparison.objectives, losses, strict=True)}

    def member(result: Result) -> dict[str, Any]:
        return {"trial": result.trial.id, "values": {name: result.values[name] for name in names}}

    plain = ("label", "experiment", "seed", "n_joint", "hypervolume", "n_trials", "n_failed", "n_epochs", "energy_j")
    return {
        "objectives": names,
        "ideal": values(comparison.box.ideal),
        "reference": values(comparison.box.reference),
        "runs": [
            {
                **{name: getattr(run, name) for name in (*plain, "running_s")},
                "front": [member(result) for result in run.front],
                "anytime": [list(point) for point in run.anytime],
            }
            for run in comparison.runs
        ],
        "joint": [{"run": label, **member(result)} for label, result in comparison.joint],
        "coverage": [{"by": a, "of": b, "share": share} for (a, b), share in comparison.coverage.items()],
        "groups": [_group_json(comparison, group) for group in comparison.groups],
        "tests": [asdict(test) for test in comparison.tests],
        "warnings": list(comparison.warnings),
    }


def _group_json(comparison: Comparison, group: Group) -> dict[str, Any]:
    found: dict[str, Any] = asdict(group)
    if len(comparison.objectives) > 1:
        y, x = comparison.objectives[:2]
        found["attainment"] = {
            f"{level:g}": [
                {x.name: x.loss(a), y.name: y.loss(b)} for a, b in attainment(comparison, group, level).tolist()
            ]
            for level in QUARTILES
        }
    found["anytime"] = [list(row) for row in anytime_quartiles([r for r in comparison.runs if r.label in group.labels])]
    return found
