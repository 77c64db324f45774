"""What the comparison must show, line by line: passed, failed, or not measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from searching.jobs import Record
from searching.ranking import against, ranked
from searching.scores import COSTS, Floats, Scores, chosen, scores_of

TWO_THIRDS = 2 / 3
NINE_TENTHS = 0.9
ALPHA = 0.05
TARGET_BUSY = 0.95
TARGET_LOSS = 0.03
SMAC = "SMAC"
HYPERBAND = "Hyperband"
OWN_FAMILIES = ("bayesian", "ASHA, evolutionary")
"""Labels that begin so are ours: none of them is a peer of another."""
LOSS_TOLERANCE = 0.01
"""'Never below' allows so much: an hundredth of the best hypervolume is the noise of ten seeds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line: what is asked, whether it is so (None: not measured), and the figures."""

    asked: str
    passed: bool | None
    figures: str

    def __str__(self) -> str:
        """Returns the line as text."""
        word = {True: "passed", False: "FAILED", None: "not measured"}[self.passed]
        return f"{word}: {self.asked}: {self.figures}"


def peers_of(labels: Sequence[str], ours: str) -> list[str]:
    """Returns who ours is compared with: all that are not of our own."""
    return [label for label in labels if label != ours and not label.startswith(OWN_FAMILIES)]


def verdicts(records: Iterable[Record], ours: str, continues: bool) -> list[Verdict]:
    """Returns all verdicts on an entrant."""
    every = list(records)
    alone = chosen(every, 1, continues)
    lines = _sequential(scores_of(alone), ours) if any(r.entrant == ours for r in alone) else []
    return lines + _parallel(every, ours, continues)


def _sequential(scores: Scores, ours: str) -> list[Verdict]:
    peers = peers_of(scores.labels, ours)
    if not peers or not scores.problems:
        return [Verdict("ours beside peers on the same problems and seeds", None, "there are none in common")]
    lines = [_quarter(scores, ours, peers)]
    if SMAC in peers:
        lines.append(_smac(scores, ours))
    if HYPERBAND in peers:
        lines.append(_never_below(scores, ours))
    return lines + [_rank(scores, ours, peers, cost) for cost in COSTS]


def _quarter(scores: Scores, ours: str, peers: Sequence[str]) -> Verdict:
    there = _reaches(scores.medians(ours, 15.0), np.max([scores.medians(peer, 30.0) for peer in peers], axis=0))
    return Verdict(
        "at cost 15 at least what the best peer of each problem has at 30, on two thirds of the problems",
        bool(there.mean() >= TWO_THIRDS - 1e-9),
        f"{int(there.sum())} of {len(there)}{_except(scores, there)}",
    )


def _smac(scores: Scores, ours: str) -> Verdict:
    there = _reaches(scores.medians(ours, 15.0), scores.medians(SMAC, 60.0))
    return Verdict(
        "at cost 15 at least what SMAC has at 60, on nine tenths of the problems",
        bool(there.mean() >= NINE_TENTHS - 1e-9),
        f"{int(there.sum())} of {len(there)}{_except(scores, there)}",
    )


def _reaches(own: Floats, goals: Floats) -> npt.NDArray[np.bool_]:
    """Returns where ours is at least the goal; nothing against nothing is no success."""
    return (own >= goals) & (own > 0)


def _never_below(scores: Scores, ours: str) -> Verdict:
    gaps = np.asarray([scores.medians(ours, cost) - scores.medians(HYPERBAND, cost) for cost in COSTS])
    worst = np.unravel_index(int(gaps.argmin()), gaps.shape)
    return Verdict(
        f"never below random Hyperband at {', '.join(f'{cost:.0f}' for cost in COSTS)} (by more than {LOSS_TOLERANCE})",
        bool(gaps.min() >= -LOSS_TOLERANCE),
        f"least lead {gaps.min():+.3f} ({scores.problems[worst[1]]}, cost {COSTS[worst[0]]:.0f})",
    )


def _rank(scores: Scores, ours: str, peers: Sequence[str], cost: float) -> Verdict:
    labels = [ours, *peers]
    columns = [scores.labels.index(label) for label in labels]
    table = scores.means(cost)[:, columns]
    ranking, p_values = ranked(table, labels), against(table, labels, ours)
    nearest = min(peers, key=lambda label: ranking.mean_ranks[label])
    highest = max(p_values, key=lambda label: p_values[label])
    is_best = ranking.mean_ranks[ours] < ranking.mean_ranks[nearest]
    return Verdict(
        f"best mean rank at cost {cost:.0f}, better than each peer at 5 %",
        bool(is_best and p_values[highest] < ALPHA),
        f"rank {ranking.mean_ranks[ours]:.2f}, next {nearest} {ranking.mean_ranks[nearest]:.2f}; "
        f"largest p {p_values[highest]:.3f} ({highest}; Wilcoxon over {len(table)} problems, Holm)",
    )


def _parallel(records: Sequence[Record], ours: str, continues: bool) -> list[Verdict]:
    own = [r for r in records if r.entrant == ours]
    lines = []
    for n_workers in (16, 100):
        here, alone = chosen(own, n_workers, continues), chosen(own, 1, continues)
        if not here:
            lines.append(Verdict(f"{n_workers} workers", None, "no searches with so many"))
            continue
        busy = min(r.busy for r in here)
        lost = _lost(here, alone)
        worst = f"least busy {busy:.1%}, hypervolume lost to one worker at equal cost {lost:+.3f} (worst problem)"
        if n_workers == 16:
            is_met = busy >= TARGET_BUSY and lost <= TARGET_LOSS
            lines.append(Verdict("16 workers: 95 % busy, hypervolume within 0.03 of one worker's", is_met, worst))
        else:
            lines.append(_no_collapse(records, ours, continues, worst))
    return lines


def _lost(here: Sequence[Record], alone: Sequence[Record]) -> float:
    """Returns the most that a problem loses, medians over common seeds at the highest cost of the comparison."""
    pairs = scores_of([*_labelled(here, "many"), *_labelled(alone, "one")]).paired()
    if not pairs.problems or not pairs.seeds or len(pairs.labels) < 2:
        return float("nan")
    return float((pairs.medians("one", COSTS[-1]) - pairs.medians("many", COSTS[-1])).max())


def _no_collapse(records: Sequence[Record], ours: str, continues: bool, figures: str) -> Verdict:
    scores = scores_of([r for r in chosen(records, 100, continues) if r.entrant in (ours, HYPERBAND)])
    asked = "100 workers without collapse: no problem below random Hyperband with as many"
    if HYPERBAND not in scores.labels or not scores.problems:
        return Verdict(asked, None, f"Hyperband has no searches with 100 workers; {figures}")
    lead = scores.medians(ours, COSTS[-1]) - scores.medians(HYPERBAND, COSTS[-1])
    return Verdict(asked, bool(lead.min() >= -LOSS_TOLERANCE), f"least lead {lead.min():+.3f}; {figures}")


def _labelled(records: Sequence[Record], label: str) -> list[Record]:
    return [replace(record, entrant=label) for record in records]


def _except(scores: Scores, there: npt.NDArray[np.bool_]) -> str:
    missing = [problem for problem, is_there in zip(scores.problems, there, strict=True) if not is_there]
    return f" (not on {'; '.join(missing)})" if missing else ""
