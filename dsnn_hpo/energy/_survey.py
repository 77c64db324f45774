"""What energy this machine can measure, what it can only estimate, and what would mend that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dsnn_hpo.energy._config import EnergyConfig
from dsnn_hpo.energy._sensor_meter import find_sensors
from dsnn_hpo.energy.sensors import POWERCAP, Lack, SensorFacts


@dataclass(frozen=True, slots=True)
class EnergySurvey:
    """The sensors and models that a meter of this scope is made of, and what is lacking."""

    scope: Literal["process", "machine"]
    sensors: tuple[SensorFacts, ...]
    lacks: tuple[Lack, ...]

    @property
    def is_measured(self) -> bool:
        """Returns whether a figure of this scope has no model in it."""
        return bool(self.sensors) and all(sensor.measured for sensor in self.sensors)

    @property
    def headline(self) -> str:
        """Returns how far figures of this machine are to be trusted, in one line."""
        measured = sorted({sensor.part for sensor in self.sensors if sensor.measured})
        models = sorted({sensor.part for sensor in self.sensors if not sensor.measured})
        by_share = any("share" in sensor.kind for sensor in self.sensors)
        if self.is_measured:
            return f"Energy is measured ({', '.join(measured)})."
        if by_share:
            return (
                "Energy is estimated: a process's share of the machine's counters; `scope: machine` measures all of it."
            )
        if measured:
            return f"Energy is estimated in part: measured of {', '.join(measured)}, a model for {', '.join(models)}."
        return "Energy is estimated: this machine has no sensor that may be read, and figures follow the time taken."

    def __str__(self) -> str:
        """Returns the headline, then a line for each sensor, model and lack, with what mends it below."""
        lines = [self.headline, *(f"  {sensor}" for sensor in self.sensors)]
        lacks = (f"  lacking: {str(lack).replace(chr(10), chr(10) + '  ')}" for lack in self.lacks)
        return "\n".join((*lines, *lacks))


def survey(config: EnergyConfig | None = None, powercap: Path = POWERCAP) -> EnergySurvey:
    """Returns what a meter of this configuration, or of the default one, would read; raises as ``make_meter``."""
    config = config or EnergyConfig()
    found = find_sensors(config, powercap)
    facts = sorted((sensor.facts for sensor in found.sensors), key=lambda fact: (fact.part, fact.name))
    return EnergySurvey(config.scope, tuple(facts), found.lacks)
