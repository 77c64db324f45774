"""Whether entrants differ, over problems: mean ranks, Friedman's test, Nemenyi's critical distance, Wilcoxon with Holm.

Demšar 2006, "Statistical comparisons of classifiers over multiple data sets". A problem counts once: the seeds on it are not
independent evidence about other problems, and are averaged before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from dsnn_hpo.comparing import wilcoxon

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Entrants ranked over problems.

    Attributes:
        mean_ranks: by entrant, 1 is best.
        p: of Friedman's test that all are equal; None with fewer than three entrants or two problems.
        critical_distance: mean ranks that lie farther apart differ (Nemenyi, 5 %); None likewise.
    """

    mean_ranks: Mapping[str, float]
    p: float | None
    critical_distance: float | None

    @property
    def best(self) -> str:
        """Returns the entrant with the best mean rank."""
        return min(self.mean_ranks, key=lambda label: self.mean_ranks[label])


def ranked(scores: npt.ArrayLike, labels: Sequence[str], alpha: float = 0.05) -> Ranking:
    """Returns the ranking of entrants.

    Args:
        scores: larger is better, shape (n_problems, n_entrants).
        labels: of the entrants.
        alpha: of the critical distance.
    """
    table = np.asarray(scores, dtype=np.float64)
    n, k = table.shape
    ranks = rankdata(-table, axis=1)
    means = dict(zip(labels, ranks.mean(axis=0).tolist(), strict=True))
    if k < 3 or n < 2:
        return Ranking(means, None, None)
    all_equal = bool((ranks == ranks[0, 0]).all())
    p = 1.0 if all_equal else float(friedmanchisquare(*table.T).pvalue)
    return Ranking(means, p, critical_distance(n, k, alpha))


def critical_distance(n_problems: int, n_entrants: int, alpha: float = 0.05) -> float:
    """Returns how far mean ranks must lie apart to differ: ``q sqrt(k (k + 1) / 6 n)`` (Demšar 2006, section 3.2.2)."""
    q = float(studentized_range.ppf(1 - alpha, n_entrants, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(n_entrants * (n_entrants + 1) / (6 * n_problems)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values adjusted for their number (Holm 1979): their order is kept, none is above 1."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for i, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - i) * p_values[index]))
        adjusted[index] = highest
    return [float(p) for p in adjusted]


def against(scores: npt.ArrayLike, labels: Sequence[str], ours: str) -> dict[str, float]:
    """Returns for each other entrant the p-value that ours equals it: Wilcoxon's over problems, adjusted by Holm.

    Args:
        scores: larger is better, shape (n_problems, n_entrants).
        labels: of the entrants.
        ours: one of them.
    """
    table = np.asarray(scores, dtype=np.float64)
    own = table[:, list(labels).index(ours)]
    others = [label for label in labels if label != ours]
    columns = [table[:, list(labels).index(label)] for label in others]
    # All values equal: there is no difference to test.
    p_values = [1.0 if (p := wilcoxon(own.tolist(), column.tolist()).p) is None else p for column in columns]
    return dict(zip(others, holm(p_values), strict=True))
