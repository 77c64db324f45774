"""The meter of a machine: its sensors together, and models for what has none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from dsnn_hpo.energy._config import EnergyConfig
from dsnn_hpo.energy._meter import Energy, Meter
from dsnn_hpo.energy._processor import ByShare, processor_times
from dsnn_hpo.energy.codecarbon import J_PER_KWH, estimators, hardware_name, kg_per_kwh
from dsnn_hpo.energy.sensors import (
    POWERCAP,
    Found,
    Lack,
    RaplSensor,
    Sensor,
    find_cards,
    find_rapl,
    synchronise,
    uses_cuda,
)
from dsnn_hpo.errors import SensorError
from dsnn_hpo.trial import Provenance


def make_meter(config: EnergyConfig, powercap: Path = POWERCAP) -> Meter:
    """Returns a meter of the best that this machine has for each part of it.

    The processor and its memory are read by their counters (RAPL) where these may be read: the whole machine's in scope
    ``machine``, and by this process's share of the processor time, an estimate, in scope ``process``. Otherwise
    CodeCarbon's models stand for them. NVIDIA's cards are read by NVML; in scope ``process`` only if this process uses
    them. A figure is called measured only if nothing in it is a model.

    Raises:
        ExperimentError: the country's electricity mix is not known.
        RuntimeError: CodeCarbon could not be set up.
    """
    return SensorMeter(config, find_sensors(config, powercap).sensors)


def find_sensors(config: EnergyConfig, powercap: Path = POWERCAP) -> Found:
    """Returns the sensors and models of which a meter is made, and what is lacking; raises as ``make_meter``."""
    counters, gpus = find_rapl(powercap), find_cards()
    lacks = [*counters.lacks, *gpus.lacks]
    counted: tuple[Sensor, ...] = counters.sensors
    if config.scope == "process" and counted:
        try:
            processor_times()
            counted = tuple(ByShare(sensor) for sensor in counters.sensors if isinstance(sensor, RaplSensor))
        except SensorError as error:
            lacks.append(Lack("cpu", f"{error}, so that no process's share of the counters is known"))
            counted = ()
    has = {sensor.facts.part for sensor in (*counted, *gpus.sensors)}
    has |= {"ram"} if config.ram == "none" else set()
    models = tuple(model for model in estimators(config) if model.facts.part not in has)
    return Found((*counted, *gpus.sensors, *models), tuple(lacks))


class SensorMeter:
    """A meter of several sensors, each a part of the whole.

    Raises:
        SensorError: a sensor failed, when a window begins or ends. What the window used is then not known: no other
            figure takes its place, because it would be of another kind than those it is compared with.
        RuntimeError: windows were nested or closed without being opened.
    """

    def __init__(self, config: EnergyConfig, sensors: Sequence[Sensor]) -> None:
        self._config = config
        # What is a model takes longer to read than a counter.
        self._sensors = sorted(sensors, key=lambda sensor: not sensor.facts.measured)
        self._kg_per_kwh = kg_per_kwh(config.country)
        self._began_s: float | None = None
        self._used_cuda = False

    def begin(self) -> None:
        """Opens a window."""
        if self._began_s is not None:
            raise RuntimeError("a window is open already; windows do not nest")
        synchronise()
        self._used_cuda = uses_cuda()
        with contextlib.ExitStack() as started:
            # From the slowest to the fastest, which so is charged the least of the others' reading.
            for sensor in reversed(self._sensors):
                sensor.start()
                started.callback(_stop, sensor)
            started.pop_all()
        self._began_s = time.perf_counter()

    def end(self) -> Energy:
        """Returns the energy used since ``begin``."""
        if self._began_s is None:
            raise RuntimeError("there is no open window to close: begin() was not called")
        began_s, self._began_s = self._began_s, None
        with contextlib.ExitStack() as running:
            for sensor in self._sensors:
                running.callback(_stop, sensor)
            synchronise()
            seconds = time.perf_counter() - began_s
            running.pop_all()
        readings, errors = [], []
        for sensor in self._sensors:
            try:
                joules = sensor.joules()
            except SensorError as error:
                errors += [error] if self._charges(sensor) else []
                continue
            readings += [(sensor, joules)] if self._charges(sensor) else []
        if errors:
            raise errors[0]
        value_j = sum(joules for _, joules in readings)
        co2_g = value_j / J_PER_KWH * self._kg_per_kwh * 1000.0
        return Energy(value_j, co2_g, seconds, self._provenance([sensor for sensor, _ in readings]))

    def _charges(self, sensor: Sensor) -> bool:
        # A card that a process has not touched is another's, or nobody's.
        is_own = self._used_cuda or uses_cuda()
        return sensor.facts.scope != "device" or self._config.scope == "machine" or is_own

    def _provenance(self, sensors: Sequence[Sensor]) -> Provenance:
        facts = [sensor.facts for sensor in sensors]
        methods = {f"{fact.part}: {fact.kind}" for fact in facts}
        methods |= {"ram: not counted"} if all(fact.part != "ram" for fact in facts) else set()
        names = [hardware_name(), *(fact.name for fact in facts if fact.part == "gpu")]
        remarks = dict.fromkeys(remark for sensor in sensors for remark in sensor.remarks)
        is_measured = bool(facts) and all(fact.measured for fact in facts)
        return Provenance(
            ", ".join(sorted(methods)),
            "measured" if is_measured else "estimated",
            self._config.scope,
            ", ".join(names),
            remarks=tuple(remarks),
        )


def _stop(sensor: Sensor) -> None:
    """Ends a reading that is of no use any more."""
    with contextlib.suppress(SensorError):
        sensor.joules()
