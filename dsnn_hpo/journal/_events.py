"""What a journal records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dsnn_hpo.trial import Fidelity, Provenance, Result, Trial


@dataclass(frozen=True, slots=True)
class Header:
    """What a run is: its experiment as validated (``experiment``) and as written (``experiment_text``).

    Relative paths of the experiment start from ``folder``; ``store`` is where the default MLflow store lies, relative
    to the run folder; ``data_digest`` tells whether the data are still the same.
    """

    run_id: str
    name: str
    created: float
    experiment: Mapping[str, Any]
    experiment_text: str
    objectives: tuple[str, ...]
    fidelity: Fidelity
    versions: Mapping[str, str]
    folder: str = ""
    store: str = ""
    data_digest: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The optimizer proposed a trial; ``time`` in seconds since the epoch."""

    trial: Trial
    time: float


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt at a trial ended through no fault of the trial's own, which is tried again.

    Attributes:
        trial: the trial, still in flight.
        attempt: counts from 1.
        reason: what became of the worker.
        seconds: since its last checkpoint, from which the next attempt goes on: what was for nothing.
        energy_j: of these seconds, an estimate; that of what is kept is in the trial's result.
        time: in seconds since the epoch.
    """

    trial: Trial
    attempt: int
    reason: str
    seconds: float
    energy_j: float
    time: float


@dataclass(frozen=True, slots=True)
class Told:
    """A trial ended and the optimizer was told."""

    result: Result
    time: float


MarkName = Literal["started", "resumed", "measuring", "interrupted", "failed", "finished"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of a completed trial were obtained anew, after the search; they take the place of those in its result.

    Attributes:
        trial: completed.
        values: by name, objectives and ``float32_energy_j``, that of the float32 network of the same architecture.
        provenance: of each, with its interval.
        energy_j: spent on this.
        time: in seconds since the epoch.
        test_values: likewise, never seen by an optimizer.
    """

    trial: Trial
    values: Mapping[str, float]
    provenance: Mapping[str, Provenance]
    energy_j: float
    time: float
    test_values: Mapping[str, float] = field(default_factory=dict)

    def after(self, earlier: Measured | None) -> Measured:
        """Returns this one with what an earlier one of the same trial holds besides."""
        if earlier is None:
            return self
        return replace(
            self,
            values={**earlier.values, **self.values},
            provenance={**earlier.provenance, **self.provenance},
            test_values={**earlier.test_values, **self.test_values},
            energy_j=earlier.energy_j + self.energy_j,
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """The driver started, resumed or stopped; ``reason`` says why, ``energy_j`` what it used since it started or resumed."""

    name: MarkName
    time: float
    reason: str = ""
    energy_j: float = 0.0


Event = Asked | Lost | Told | Measured | Mark
