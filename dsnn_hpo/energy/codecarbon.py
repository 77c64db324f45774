"""The one door to CodeCarbon: an offline meter, and the countries whose electricity mix it knows.

CodeCarbon reads RAPL and NVML where they exist and the scope is the machine; otherwise the figure is an estimate from
processor time, the processor's rated power and a model of the memory's. ``Energy.method`` says which.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from dsnn_hpo.energy._config import EnergyConfig
from dsnn_hpo.energy._meter import Energy
from dsnn_hpo.errors import ExperimentError, one_of

J_PER_KWH = 3.6e6
_MEASURED_MODES = frozenset({"intel_rapl", "windows_emi", "intel_power_gadget", "apple_powermetrics"})


class CodeCarbonMeter:
    """A meter on CodeCarbon's offline tracker; one a process, made at first use (0.5 to 2 s), then about 1 ms a window.

    Raises:
        RuntimeError: a window was closed that was never opened, or CodeCarbon could not read its sensors.
    """

    def __init__(self, config: EnergyConfig) -> None:
        self._tracker = _tracker(config)
        self._scope = config.scope

    def begin(self) -> None:
        """Opens a window."""
        self._tracker.start_task()

    def end(self) -> Energy:
        """Returns the energy used since ``begin``: CodeCarbon's kWh as joules, its kg of CO2eq as grams."""
        data = self._tracker.stop_task()
        if data is None:
            raise RuntimeError("CodeCarbon has no open window: begin() failed or was not called")
        # The tracker keeps each finished task for ever; a worker measures thousands.
        self._tracker._tasks.clear()
        return Energy(
            value_j=data.energy_consumed * J_PER_KWH,
            co2_g=data.emissions * 1000.0,
            seconds=data.duration,
            method=self._method(),
        )

    def _method(self) -> str:
        parts = []
        for hardware in self._tracker._hardware:
            mode = str(getattr(hardware, "_mode", "model"))
            kind = type(hardware).__name__.lower()
            measured = mode in _MEASURED_MODES or kind == "gpu"
            parts.append(f"{kind}: {mode} ({'measured' if measured else 'estimated'})")
        return f"{'; '.join(sorted(parts))}; scope: {self._scope}"


@lru_cache(maxsize=1)
def _tracker(config: EnergyConfig) -> Any:
    from codecarbon import OfflineEmissionsTracker

    # The logger is born at INFO and only quietened by the tracker's constructor, after its first lines.
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    return OfflineEmissionsTracker(
        country_iso_code=config.country,
        tracking_mode=config.scope,
        save_to_file=False,
        log_level="critical",
        allow_multiple_runs=True,
    )


def check_country(code: str) -> None:
    """Checks that CodeCarbon knows the country's electricity mix; raises ExperimentError otherwise."""
    from codecarbon.input import DataSource

    known = DataSource().get_global_energy_mix_data()
    if code not in known:
        close = [name for name in known if name[:2] == code[:2]] or sorted(known)[:5]
        raise ExperimentError(
            f"no electricity mix is known for country {one_of(code, close)}, among {len(known)} others"
        )
