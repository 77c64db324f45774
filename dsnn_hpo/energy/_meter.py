"""What a meter reads, and the protocol of meters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dsnn_hpo.trial import Provenance


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy over a window: joules, grams of CO2 equivalents, seconds, and how the joules were obtained."""

    value_j: float
    co2_g: float
    seconds: float
    provenance: Provenance


class Meter(Protocol):
    """Measures the energy between ``begin`` and ``end``; windows do not nest."""

    def begin(self) -> None:
        """Opens a window."""
        ...

    def end(self) -> Energy:
        """Returns the energy used since ``begin``."""
        ...
