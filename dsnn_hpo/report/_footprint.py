"""What a study has cost, and when its front pays that back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsnn_hpo.journal import History, Lost, Mark
from dsnn_hpo.report._hypervolume import hypervolume_series
from dsnn_hpo.report._words import readable
from dsnn_hpo.trial import TrialState

J_PER_WH = 3600.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """The energy of a study, joule by joule.

    Attributes:
        training_j: of the trials that completed.
        failed_j: of training those that failed.
        lost_j: of attempts that were lost; an estimate, nobody was left to measure them.
        measuring_j: of measuring inference, in trials and after the search, and of training the front again with further seeds.
        driver_j: of the driver, the optimizer's model included, as far as its sessions ended in order.
        hypervolume: relative (see ``RunningHypervolume``), None while there is none.
        repaid_after: by trial of the front, how many inferences repay its training, against the float32 network of its
            architecture; None where that takes no more, or nobody measured it.
    """

    training_j: float
    failed_j: float
    lost_j: float
    measuring_j: float
    driver_j: float
    hypervolume: float | None
    repaid_after: Mapping[int, float | None]

    @property
    def total_j(self) -> float:
        """Returns the sum of all parts."""
        return self.training_j + self.failed_j + self.lost_j + self.measuring_j + self.driver_j

    @property
    def hypervolume_per_kwh(self) -> float | None:
        """Returns the relative hypervolume that a kilowatt-hour bought."""
        return None if self.hypervolume is None or not self.total_j else self.hypervolume / self.total_j * 3.6e6


def footprint_of(history: History) -> Footprint:
    """Returns what a run has cost so far."""
    completed = [r for r in history.results if r.state is TrialState.COMPLETED]
    failed = [r for r in history.results if r.state is TrialState.FAILED]
    series = hypervolume_series(history)
    # A configuration's own training, all rungs; the search that found it is in the total.
    training_j = {r.trial.id: r.values.get("train_energy_j", 0.0) for r in completed}
    return Footprint(
        training_j=sum(r.energy_j for r in completed),
        failed_j=sum(r.energy_j for r in failed),
        lost_j=sum(e.energy_j for e in history.events if isinstance(e, Lost)),
        measuring_j=sum(r.measuring_energy_j for r in history.results)
        + sum(m.energy_j for m in history.measured.values()),
        driver_j=sum(e.energy_j for e in history.events if isinstance(e, Mark)),
        hypervolume=series[-1][1] if series else None,
        repaid_after={
            member.trial.id: _repaid_after(training_j[member.trial.id], member.values) for member in history.front()
        },
    )


def _repaid_after(training_j: float, values: Mapping[str, float]) -> float | None:
    float32_j, own_j = values.get("float32_energy_j"), values.get("inference_energy_j")
    if float32_j is None or own_j is None or float32_j <= own_j:
        return None
    return 1000.0 * training_j / (float32_j - own_j)


def footprint_lines(footprint: Footprint) -> list[str]:
    """Returns the footprint as sentences."""
    parts = {
        "training": footprint.training_j,
        "failed trials": footprint.failed_j,
        "lost attempts": footprint.lost_j,
        "measuring, and training the front again": footprint.measuring_j,
        "driver and optimizer": footprint.driver_j,
    }
    text = ", ".join(f"{name} {readable(joules / J_PER_WH)}" for name, joules in parts.items() if joules)
    lines = [f"The study took {readable(footprint.total_j / J_PER_WH)} Wh: {text}."]
    if (per_kwh := footprint.hypervolume_per_kwh) is not None:
        lines.append(f"Relative hypervolume per kWh: {readable(per_kwh)}.")
    repaid = {trial: n for trial, n in footprint.repaid_after.items() if n is not None}
    if repaid:
        text = ", ".join(f"trial {trial} {readable(float(round(n)))}" for trial, n in repaid.items())
        lines.append(f"Inferences that repay a member's own training, against the float32 network in torch: {text}.")
    return lines
