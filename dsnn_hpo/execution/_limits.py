"""What a trial may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may take; None: as much as there is.

    Attributes:
        time_s: seconds from its start.
        memory_gb: memory of its process, GiB.
    """

    time_s: float | None = None
    memory_gb: float | None = None


NO_LIMITS = Limits()
