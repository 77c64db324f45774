"""What a sensor is, and what is found of them on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Part = Literal["cpu", "ram", "gpu"]


@dataclass(frozen=True, slots=True)
class SensorFacts:
    """What a sensor reads.

    Attributes:
        name: of what it reads, e.g. ``"package-0, package-1"`` or ``"card 0 (NVIDIA H100)"``.
        part: of the machine.
        kind: how it reads, e.g. ``"rapl"``, ``"nvml counter"``, ``"cpu_load"``.
        measured: whether a counter or a power meter is read; otherwise it is a model.
        scope: whose energy it reads: this process's, the whole machine's, or a whole device's.
    """

    name: str
    part: Part
    kind: str
    measured: bool
    scope: Literal["process", "machine", "device"]

    def __str__(self) -> str:
        """Returns it as one line, e.g. ``"cpu: rapl (package-0; the whole machine's, measured)"``."""
        whose = {"process": "this process's", "machine": "the whole machine's", "device": "the whole device's"}
        how = "measured" if self.measured else "estimated"
        return f"{self.part}: {self.kind} ({self.name}; {whose[self.scope]}, {how})"


@dataclass(frozen=True, slots=True)
class Lack:
    """What cannot be read on this machine, and the line that would mend it; empty where none would."""

    part: Part
    what: str
    mend: str = ""

    def __str__(self) -> str:
        """Returns it as one line, or as two with what would mend it."""
        return f"{self.part}: {self.what}" + (f"\n    {self.mend}" if self.mend else "")


class Sensor(Protocol):
    """Reads energy between ``start`` and ``joules``; these take turns and do not nest.

    Attributes:
        facts: what it reads.
        remarks: what casts doubt on the last reading, e.g. other processes on a card.
    """

    facts: SensorFacts
    remarks: tuple[str, ...]

    def start(self) -> None:
        """Begins to read; raises SensorError where it cannot."""
        ...

    def joules(self) -> float:
        """Returns the joules since ``start`` and ends the reading; raises SensorError rather than return a guess."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """The sensors that can be read, and what is lacking."""

    sensors: tuple[Sensor, ...] = ()
    lacks: tuple[Lack, ...] = ()
