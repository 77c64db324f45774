"""The comparison as Markdown: shares by problem, ranks and tests, costs to reach a peer, times, verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searching.jobs import Record
from searching.ranking import against, ranked
from searching.scores import COSTS, Scores, chosen, cost_to_reach, scores_of
from searching.verdicts import peers_of, verdicts

FINE = tuple(float(cost) for cost in range(1, 61))


def summary(records: Sequence[Record], ours: str, continues: bool = False) -> str:
    """Returns the report of a comparison.

    Args:
        records: of searches, of any settings.
        ours: whose figures are compared with the peers'; without it there are tables only.
        continues: whether the searches to report continue trainings.
    """
    alone = chosen(records, 1, continues)
    if not alone:
        return "There are no searches with one worker in this setting.\n"
    scores = scores_of(alone)
    parts = [_heading(scores), _shares_table(scores), _ranks(scores, ours)]
    if ours in scores.labels:
        parts.append(_reached(alone, ours))
    parts.append(_times(alone))
    parts.append(_workers(records, continues))
    lines = verdicts(records, ours, continues) if ours in scores.labels else []
    parts.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(scores: Scores) -> str:
    text = f"{len(scores.problems)} problems, {len(scores.labels)} entrants, {len(scores.seeds)} seeds."
    fewer = {label: counts for label in scores.labels if (counts := scores.n_seeds(label))[0] < len(scores.seeds)}
    if fewer:
        spans = [f"{label} {low} to {high}" if low < high else f"{label} {low}" for label, (low, high) in fewer.items()]
        text += f" Fewer seeds: {', '.join(spans)}."
    if scores.left_out:
        text += f" Left out, because not every entrant has them: {', '.join(scores.left_out)}."
    return text


def _shares_table(scores: Scores) -> str:
    """Returns medians over seeds of the share of the best hypervolume at each cost, the best of each problem bold."""
    medians = np.nanmedian(scores.values, axis=-1)
    best = medians.max(axis=1)
    rows = [["", *scores.labels]]
    for i, problem in enumerate(scores.problems):
        cells = [
            " ".join(_share(share, is_best=share >= best[i, k] > 0) for k, share in enumerate(of_entrant))
            for of_entrant in medians[i]
        ]
        rows.append([problem, *cells])
    costs = ", ".join(f"{cost:.0f}" for cost in scores.costs)
    return f"Share of the best hypervolume at cost {costs}; medians over seeds.\n\n{_table(rows)}"


def _ranks(scores: Scores, ours: str) -> str:
    if len(scores.labels) < 2 or not scores.problems:
        return ""
    rankings = [ranked(scores.means(cost), scores.labels) for cost in scores.costs]
    tests = [against(scores.means(c), scores.labels, ours) if ours in scores.labels else {} for c in scores.costs]
    rows = [["mean rank", *(f"cost {cost:.0f}" for cost in scores.costs)]]
    for label in sorted(scores.labels, key=lambda label: rankings[-1].mean_ranks[label]):
        cells = []
        for ranking, test in zip(rankings, tests, strict=True):
            p = f" (p {test[label]:.3f})" if label in test else ""
            cells.append(f"{ranking.mean_ranks[label]:.2f}{p}")
        rows.append([label, *cells])
    friedman = ", ".join("none" if r.p is None else f"{r.p:.2g}" for r in rankings)
    distance = rankings[0].critical_distance
    nemenyi = "" if distance is None else f"; mean ranks differ at 5 % where {distance:.2f} apart (Nemenyi)"
    note = f"; in brackets p against {ours} (Wilcoxon over problems, Holm)" if ours in scores.labels else ""
    return f"{_table(rows)}\n\nFriedman's p: {friedman}{nemenyi}{note}."


def _reached(records: Sequence[Record], ours: str) -> str:
    """Returns, for each peer, the cost at which ours has what the peer has at 60: medians over problems, and the worst."""
    fine = scores_of(records, FINE)
    own = np.nanmedian(fine.of(ours), axis=-1)
    rows = [["what a peer has at cost 60, ours has at", "median", "worst", "never", "problems"]]
    for peer in peers_of(fine.labels, ours):
        goals = fine.medians(peer, FINE[-1])
        # Where the peer has nothing, there is nothing to reach.
        costs = [cost_to_reach(own[i], FINE, goal) for i, goal in enumerate(goals) if goal > 0]
        if not costs:
            continue
        values = [np.inf if cost is None else cost for cost in costs]
        n_never = sum(cost is None for cost in costs)
        worst = max((cost for cost in costs if cost is not None), default=np.inf)
        rows.append([peer, f"{np.median(values):.0f}", f"{worst:.0f}", str(n_never), str(len(costs))])
    return _table(rows)


def _times(records: Sequence[Record]) -> str:
    rows = [["milliseconds", "ask median", "p90", "max", "tell p90", "trainings"]]
    for label in dict.fromkeys(r.entrant for r in records):
        own = [r for r in records if r.entrant == label]
        ask = np.asarray([r.ask_ms for r in own])
        rows.append(
            [
                label,
                f"{np.median(ask[:, 0]):.1f}",
                f"{np.median(ask[:, 1]):.1f}",
                f"{ask[:, 2].max():.0f}",
                f"{np.median([r.tell_ms[1] for r in own]):.2f}",
                f"{np.median([r.n_trials for r in own]):.0f}",
            ]
        )
    return _table(rows)


def _workers(records: Sequence[Record], continues: bool) -> str:
    rows = [["workers", "entrant", "busy, least", "time, median", "share at cost 60, mean of medians"]]
    for n_workers in sorted({r.setting["n_workers"] for r in records}):
        here = chosen(records, n_workers, continues)
        scores = scores_of(here)
        for label in scores.labels if scores.problems else ():
            own = [r for r in here if r.entrant == label]
            makespan = float(np.median([r.makespan for r in own]))
            share = scores.medians(label, COSTS[-1]).mean()
            rows.append([str(n_workers), label, f"{min(r.busy for r in own):.1%}", f"{makespan:.1f}", f"{share:.3f}"])
    several = len({row[0] for row in rows[1:]}) > 1
    return f"{_table(rows)}\n\nTime in full trainings of mean pace." if several else ""


def _share(value: float, is_best: bool) -> str:
    text = f"{value:.2f}".lstrip("0") or "0"
    return f"**{text}**" if is_best else text


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in body])
