"""The one door to CodeCarbon: an offline meter, and the countries whose electricity mix it knows.

With scope ``machine`` CodeCarbon reads the processor's counters (RAPL) where they exist; otherwise, and with scope
``process``, the processor's figure is an estimate from processor time and rated power. Memory is always a model, and
graphics cards are read (NVML) as whole devices in either scope. ``Energy.provenance`` says which for each.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from dsnn_hpo.energy._config import EnergyConfig
from dsnn_hpo.energy._meter import Energy
from dsnn_hpo.energy.sensors import Part, Sampler, SensorFacts
from dsnn_hpo.errors import ExperimentError, one_of
from dsnn_hpo.trial import Provenance

J_PER_KWH = 3.6e6
# As often as CodeCarbon's own trackers.
_SAMPLE_S = 1.0
_MEASURED_MODES = frozenset({"intel_rapl", "windows_emi", "intel_power_gadget"})


class CodeCarbonMeter:
    """A meter on CodeCarbon's offline tracker; one a process, made at first use (0.5 to 2 s), then about 1 ms a window.

    Raises:
        RuntimeError: windows were nested or closed without being opened, CodeCarbon could not be set up, or this version
            of it differs inside from those that dsnn-hpo is tested with.
    """

    def __init__(self, config: EnergyConfig) -> None:
        self._tracker = _tracker(config)
        self._scope = config.scope

    def begin(self) -> None:
        """Opens a window."""
        if _internal(self._tracker, "_active_task") is not None:
            raise RuntimeError("a window is open already; windows do not nest")
        self._tracker.start_task()
        if _internal(self._tracker, "_active_task") is None:
            raise RuntimeError("CodeCarbon opened no window: it could not be set up")

    def end(self) -> Energy:
        """Returns the energy used since ``begin``: CodeCarbon's kWh as joules, its kg of CO2eq as grams."""
        data = self._tracker.stop_task()
        if data is None:
            raise RuntimeError("there is no open window to close: begin() was not called")
        # The tracker keeps each finished task for ever; a worker measures thousands.
        _internal(self._tracker, "_tasks").clear()
        return Energy(
            value_j=data.energy_consumed * J_PER_KWH,
            co2_g=data.emissions * 1000.0,
            seconds=data.duration,
            provenance=self._provenance(),
        )

    def _provenance(self) -> Provenance:
        parts = sorted(_source(part) for part in _internal(self._tracker, "_hardware"))
        return Provenance(
            ", ".join(f"{kind}: {source}" for kind, source, _ in parts),
            "measured" if all(is_measured for *_, is_measured in parts) else "estimated",
            self._scope,
            hardware_name(),
        )


class Estimator:
    """A part of the machine as CodeCarbon sees it, as a sensor: the model of memory, or the processor's load × TDP."""

    def __init__(self, hardware: Any, scope: Literal["process", "machine"]) -> None:
        part, kind, is_measured = _source(hardware)
        names = {"cpu_load": "processor time × rated power", "constant": "rated power", "model": "by its size"}
        whose: Literal["process", "machine", "device"] = "device" if part == "gpu" else scope
        self.facts = SensorFacts(names.get(kind, "CodeCarbon"), part, kind, is_measured, whose)
        self.remarks: tuple[str, ...] = ()
        self._hardware = hardware
        # What cannot be watched between the edges has a power that does not depend on load.
        watch = getattr(hardware, "monitor_power", None)
        self._sampler = Sampler(watch, _SAMPLE_S) if watch is not None else None
        self._began_s = 0.0

    def start(self) -> None:
        """Begins to watch the load."""
        self._hardware.start()
        self._began_s = time.perf_counter()
        if self._sampler is not None:
            self._sampler.start()

    def joules(self) -> float:
        """Returns CodeCarbon's kWh since ``start`` as joules."""
        if self._sampler is not None:
            self._sampler.stop()
        _, energy = self._hardware.measure_power_and_energy(time.perf_counter() - self._began_s)
        return float(energy.kWh) * J_PER_KWH


def estimators(config: EnergyConfig) -> tuple[Estimator, ...]:
    """Returns what CodeCarbon knows of this machine, but for NVIDIA's cards, which have a door of their own.

    Raises:
        RuntimeError: CodeCarbon could not be set up, or this version of it differs inside.
    """
    return tuple(Estimator(part, config.scope) for part in _hardware(config) if _source(part)[1] != "nvml")


@lru_cache(maxsize=1)
def _hardware(config: EnergyConfig) -> tuple[Any, ...]:
    """Returns CodeCarbon's parts of this machine; a tracker looks for them when its first window opens."""
    meter = CodeCarbonMeter(config)
    meter.begin()
    meter.end()
    parts = tuple(_internal(_tracker(config), "_hardware"))
    if not any(_source(part)[0] == "cpu" for part in parts):
        raise RuntimeError(
            f"CodeCarbon {importlib.metadata.version('codecarbon')} found no processor on this machine: it could not be set up"
        )
    return parts


def rated_w_per_core(config: EnergyConfig) -> float:
    """Returns the watts of a busy core by the processor's rated power, an estimate; raises as ``estimators``."""
    (processor,) = (part for part in _hardware(config) if _source(part)[0] == "cpu")
    return float(_internal(processor, "_tdp")) / (os.cpu_count() or 1)


def _source(hardware: Any) -> tuple[Part, str, bool]:
    """Returns a part's kind, where its figure comes from, and whether it is measured: ``("cpu", "cpu_load", False)``."""
    kind = type(hardware).__name__
    if kind == "RAM":
        return "ram", "model", False
    if kind == "GPU":
        devices = getattr(getattr(hardware, "devices", None), "devices", ())
        return "gpu", "amdsmi" if any("AMD" in type(device).__name__ for device in devices) else "nvml", True
    if kind == "CPU":
        mode = str(_internal(hardware, "_mode"))
        return "cpu", mode, mode in _MEASURED_MODES
    # Power read once, at the window's end, of a chip that has meters of its own.
    parts: dict[str, Part] = {"CPU": "cpu", "RAM": "ram", "GPU": "gpu"}
    return parts[str(_internal(hardware, "chip_part"))], kind.lower(), False


@lru_cache(maxsize=1)
def hardware_name() -> str:
    """Returns the processor's name and number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def _internal(owner: Any, name: str) -> Any:
    """Returns an attribute that CodeCarbon does not publish; without it figures would go wrong unnoticed."""
    if not hasattr(owner, name):
        raise RuntimeError(
            f"{type(owner).__name__} of CodeCarbon {importlib.metadata.version('codecarbon')} has no {name}: it could not "
            "be set up, or this version differs from those that dsnn-hpo is tested with (see constraints.txt)"
        )
    return getattr(owner, name)


@lru_cache(maxsize=1)
def _tracker(config: EnergyConfig) -> Any:
    from codecarbon import OfflineEmissionsTracker

    # The logger is born at INFO and only quietened by the tracker's constructor, after its first lines.
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    tracker = OfflineEmissionsTracker(
        country_iso_code=config.country,
        tracking_mode=config.scope,
        # Processor counters cannot tell the processes of a machine apart.
        force_mode_cpu_load=config.scope == "process",
        log_level="critical",
        allow_multiple_runs=True,
        # Set here, so that a CodeCarbon configuration of the user's cannot send, fetch, or replace the country's mix.
        output_methods=[],
        emissions_endpoint=None,
        electricitymaps_api_token="",
        region=None,
        cloud_provider=None,
        force_carbon_intensity_g_co2e_kwh=None,
    )
    # Its constructor swallows its own errors.
    for name in ("_tasks", "_active_task", "_hardware"):
        _internal(tracker, name)
    return tracker


@lru_cache(maxsize=8)
def kg_per_kwh(country: str) -> float:
    """Returns the kilograms of CO2 equivalents of a kilowatt hour, by CodeCarbon's data; raises as ``check_country``."""
    from codecarbon.core.emissions import Emissions
    from codecarbon.core.units import Energy as CodeCarbonEnergy
    from codecarbon.external.geography import GeoMetadata
    from codecarbon.input import DataSource

    # Of a country that it does not know it would return the world's average.
    check_country(country)
    kg = Emissions(DataSource()).get_country_emissions(CodeCarbonEnergy.from_energy(1.0), GeoMetadata(country))
    return float(kg)


def check_country(code: str) -> None:
    """Checks that CodeCarbon knows the country's electricity mix; raises ExperimentError otherwise."""
    from codecarbon.input import DataSource

    known = DataSource().get_global_energy_mix_data()
    if code not in known:
        close = [name for name in known if name[:2] == code[:2]] or sorted(known)[:5]
        raise ExperimentError(
            f"no electricity mix is known for country {one_of(code, close)}, among {len(known)} others"
        )
