"""What a worker's machine takes at rest, measured once a process."""

from __future__ import annotations

from dsnn_hpo.energy import EnergyConfig, Meter, idle_power_w
from dsnn_hpo.errors import EnergyError

_known: dict[EnergyConfig, float | None] = {}


def idle_w(config: EnergyConfig, meter: Meter) -> float | None:
    """Returns the watts at rest, or None if they are not known: a process's share has none, and a busy machine no rest.

    Raises:
        EnergyError: the machine is busy, and what it takes at rest is to be subtracted.
    """
    if config.scope == "process":
        return None
    if config not in _known:
        try:
            _known[config] = idle_power_w(meter)
        except EnergyError:
            if config.idle == "subtract":
                raise
            _known[config] = None
    return _known[config]
