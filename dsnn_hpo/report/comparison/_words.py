"""A comparison as tables and sentences."""

from __future__ import annotations

from dataclasses import dataclass

from dsnn_hpo.comparing import Difference
from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._words import label, readable, with_interval
from dsnn_hpo.report.comparison._compare import ComparedRun, Comparison, GroupTest

_MOST_COVERED = 6


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """A table of text: its title, a header, and rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def comparison_tables(comparison: Comparison) -> list[ComparisonTable]:
    """Returns the tables of a comparison: runs, groups if there are any, coverage of up to 6 runs, the joint front."""
    tables = [_runs(comparison)]
    if comparison.groups:
        tables.append(_groups(comparison))
    if len(comparison.runs) <= _MOST_COVERED:
        tables.append(_coverage(comparison))
    return [*tables, _joint(comparison)]


def _runs(comparison: Comparison) -> ComparisonTable:
    header = (
        "run",
        "seed",
        "hypervolume",
        "front",
        "in joint",
        "trials",
        "failed",
        "epochs",
        "energy (Wh)",
        "time (s)",
    )
    rows = tuple(
        (
            run.label,
            str(run.seed),
            f"{run.hypervolume:.4f}",
            str(len(run.front)),
            str(run.n_joint),
            str(run.n_trials),
            str(run.n_failed),
            f"{run.n_epochs:,}",
            readable(run.energy_j / 3600),
            f"{run.running_s:,.0f}",
        )
        for run in comparison.runs
    )
    return ComparisonTable("Runs", header, rows)


def _groups(comparison: Comparison) -> ComparisonTable:
    volumes = {run.label: run.hypervolume for run in comparison.runs}
    rows = []
    for group in comparison.groups:
        own = [volumes[label] for label in group.labels]
        spread = "–" if group.deviation is None else f"{group.deviation:.4f}"
        rows.append((group.name, str(len(own)), f"{group.mean:.4f}", spread, f"{min(own):.4f}", f"{max(own):.4f}"))
    header = ("group", "runs", "mean hypervolume", "deviation", "worst", "best")
    return ComparisonTable("Over seeds", header, tuple(rows))


def _coverage(comparison: Comparison) -> ComparisonTable:
    labels = [run.label for run in comparison.runs]
    rows = tuple(
        (one, *("–" if one == other else f"{comparison.coverage[one, other]:.2f}" for other in labels))
        for one in labels
    )
    title = "Coverage: the share of the column's front that some member of the row's dominates or equals"
    return ComparisonTable(title, ("", *labels), rows)


def _joint(comparison: Comparison) -> ComparisonTable:
    header = ("run", "trial", *(label(objective) for objective in comparison.objectives))
    rows = tuple(
        (
            name,
            str(member.trial.id),
            *(with_interval(member.values[o.name], interval(member, o.name)) for o in comparison.objectives),
        )
        for name, member in comparison.joint
    )
    return ComparisonTable("The joint front", header, rows)


def comparison_text(comparison: Comparison) -> list[str]:
    """Returns what follows from a comparison, as sentences."""
    lines = [_says_box(comparison)]
    if comparison.groups:
        return lines + [line for test in comparison.tests for line in _says(test)] + _says_too_few(comparison)
    best = max(comparison.runs, key=lambda run: run.hypervolume)
    return lines + [_says_of(best, run, comparison) for run in comparison.runs if run is not best]


def _says_box(comparison: Comparison) -> str:
    corners = zip(comparison.objectives, comparison.box.ideal, comparison.box.reference, strict=True)
    parts = [
        f"{label(objective)} {readable(objective.loss(float(best)))} to {readable(objective.loss(float(worst)))}"
        for objective, best, worst in corners
    ]
    return f"Hypervolumes are shares of one box: {'; '.join(parts)}."


def _says_of(best: ComparedRun, run: ComparedRun, comparison: Comparison) -> str:
    ahead, behind = (comparison.coverage[pair] for pair in ((best.label, run.label), (run.label, best.label)))
    text = f"{best.label} has {_more(best.hypervolume, run.hypervolume)} hypervolume than {run.label}; it covers {ahead:.0%}"
    text += f" of {run.label}'s front, and that one {behind:.0%} of its own"
    costs = [("epochs", best.n_epochs, run.n_epochs), ("energy", best.energy_j, run.energy_j)]
    costs.insert(0, ("trials", best.n_trials, run.n_trials))
    ratios = [f"{ours / theirs:.2f} times the {what}" for what, ours, theirs in costs if theirs]
    return f"{text}. It took {', '.join(ratios)}."


def _more(one: float, other: float) -> str:
    return "no more" if one == other else f"{one - other:.4f} more" + (f" ({one / other - 1:+.1%})" if other else "")


def _says(test: GroupTest) -> list[str]:
    lines = []
    for found in test.differences:
        p = "all values are equal" if found.p is None else f"p = {found.p:.3g}"
        pairs = ", in pairs of equal seeds" if found.test == "Wilcoxon" else ""
        lines.append(
            f"{test.one} against {test.other}{pairs}: {found.test}, {p} (two-sided; no less than {found.least_p:.2g} with "
            f"so many runs); a run of {test.one} is better with probability {found.effect:.2f}. {_verdict(found)}"
        )
    return lines


def _verdict(found: Difference) -> str:
    if found.least_p > 0.05:
        return "Too few runs for a difference at 5 %, whatever it is."
    return "A difference at 5 %." if found.p is not None and found.p < 0.05 else "No difference is shown at 5 %."


def _says_too_few(comparison: Comparison) -> list[str]:
    alone = [group.name for group in comparison.groups if len(group.labels) < 2]
    lines = [f"No test of {', '.join(alone)}: it takes two runs or more."] if alone else []
    if len(comparison.tests) > 1:
        lines.append(f"p-values are not corrected for {len(comparison.tests)} comparisons.")
    return lines
