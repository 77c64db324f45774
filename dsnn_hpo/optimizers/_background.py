"""What there is before a search begins: its budget, what is known without training, what earlier runs have found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dsnn_hpo.trial import Config, Result

KnownFigure = Callable[[Config], float | None]
"""Returns a figure of a configuration exactly as its results will hold it, or None where it cannot be told."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a search is to go, as far as it is known beforehand: trials, and epochs over those of a full training."""

    trials: int | None = None
    full_trainings: float | None = None


@dataclass(frozen=True, slots=True)
class Background:
    """What an optimizer is given besides its task.

    Attributes:
        budget: a small one leaves less for an initial design.
        known: by name, figures that need no training, such as a network's size; pure functions, which may take tens of
            milliseconds, and can be pickled.
        earlier: completed results of earlier runs, of configurations of the same space.
    """

    budget: Budget = Budget()
    known: Mapping[str, KnownFigure] = field(default_factory=dict)
    earlier: Sequence[Result] = ()
