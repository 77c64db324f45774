"""Where configurations stand among each other: on the front, at its knee, or how many fronts behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dsnn_hpo import pareto
from dsnn_hpo.journal import History

# Of those behind, a new result moves many by one: told apart are only the first few, so that few runs are written again.
N_RANKS = 5
BEHIND = f">{N_RANKS}"
# Not empty: MLflow drops tags that are.
NO_RANK = "none"
_FEWEST_FOR_KNEE = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """The keys on the front, each key's rank, and that of the knee.

    A rank is the number of the front that a configuration is on if those before are taken away (non-dominated sorting, Deb et
    al. 2002), among the results at the fidelity of the front: "1" to "5", then ">5". Who has no result there has none.
    """

    front: frozenset[str] = frozenset()
    ranks: Mapping[str, str] = field(default_factory=dict)
    knee: str = ""

    def tags(self, key: str) -> dict[str, str]:
        """Returns the tags of a configuration; the rank is "none" where it has none."""
        return {
            "pareto": "true" if key in self.front else "false",
            "pareto_rank": self.ranks.get(key, NO_RANK),
            "knee": "true" if key == self.knee else "false",
        }

    def moved(self, before: Standing) -> set[str]:
        """Returns the keys whose tags are others than before."""
        keys = self.ranks.keys() | before.ranks.keys()
        return {key for key in keys if self.tags(key) != before.tags(key)}


def standing_of(history: History) -> Standing:
    """Returns where the configurations of a history stand; the knee is that of the report: of a front of three or more."""
    candidates = pareto.latest(history.latest_results(), history.front_fidelity)
    keys = [candidate.trial.key for candidate in candidates]
    losses = pareto.losses_of(candidates, history.objectives)
    left = np.arange(len(candidates))
    ranks: dict[str, str] = {}
    front = left[:0]
    for rank in range(1, N_RANKS + 1):
        mask = pareto.non_dominated(losses[left])
        front = left[mask] if rank == 1 else front
        ranks |= {keys[i]: str(rank) for i in left[mask]}
        left = left[~mask]
    ranks |= {keys[i]: BEHIND for i in left}
    knee = ""
    if len(front) >= _FEWEST_FOR_KNEE and len(history.objectives) > 1:
        # In the order of the report's front, which decides between equals.
        front = np.array(sorted(front, key=lambda i: (tuple(losses[i]), candidates[i].trial.id)))
        knee = keys[front[pareto.knee(losses[front])]]
    return Standing(frozenset(keys[i] for i in front), ranks, knee)
