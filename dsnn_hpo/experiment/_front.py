"""A run's front as plain objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsnn_hpo.journal import History
from dsnn_hpo.trial import Config


@dataclass(frozen=True, slots=True)
class FrontMember:
    """A member of the Pareto front: its configuration, validation values by objective, and test values."""

    trial: int
    config: Config
    values: Mapping[str, float]
    test_values: Mapping[str, float]


def front_members(history: History) -> list[FrontMember]:
    """Returns the front of a run, ordered by the first objective."""
    return [FrontMember(r.trial.id, r.trial.config, r.values, r.test_values) for r in history.front()]
