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
    members = history.front()
    candidates = pareto.latest(history.latest_results(), history.front_fidelity)
    losses = pareto.losses_of(candidates, history.objectives)
    left = np.arange(len(candidates))
    ranks: dict[str, str] = {}
    for rank in range(1, N_RANKS + 1):
        mask = pareto.non_dominated(losses[left])
        ranks |= {candidates[i].trial.key: str(rank) for i in left[mask]}
        left = left[~mask]
    ranks |= {candidates[i].trial.key: BEHIND for i in left}
    knee = ""
    if len(members) >= _FEWEST_FOR_KNEE and len(history.objectives) > 1:
        knee = members[pareto.knee(pareto.losses_of(members, history.objectives))].trial.key
    return Standing(frozenset(member.trial.key for member in members), ranks, knee)
