"""Who uses the processor: this process with its children, and the machine, by Linux's /proc."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dsnn_hpo.energy.sensors import Sampler, SensorFacts, family
from dsnn_hpo.errors import SensorError

if TYPE_CHECKING:
    from dsnn_hpo.energy.sensors import RaplSensor

STAT = Path("/proc/stat")
SAMPLE_S = 1.0


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Seconds of processor time at a moment: of all that ran on the machine, and of this process with its children."""

    machine_s: float
    own_s: float
    clock_s: float

    def own_share(self, since: ProcessorTimes) -> float:
        """Returns this process's part of the processor time used since then, 0 to 1; 0 where none was used."""
        own_s = max(0.0, self.own_s - since.own_s)
        # The machine's time is counted in ticks, and may seem less than our own.
        machine_s = max(self.machine_s - since.machine_s, own_s)
        return own_s / machine_s if machine_s > 0 else 0.0

    def others_use(self, since: ProcessorTimes) -> float:
        """Returns the part of all cores that other processes used since then, 0 to 1."""
        others_s = (self.machine_s - since.machine_s) - (self.own_s - since.own_s)
        cores_s = (self.clock_s - since.clock_s) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, others_s) / cores_s) if cores_s > 0 else 0.0


def processor_times() -> ProcessorTimes:
    """Returns the processor times so far; raises SensorError where /proc does not tell the machine's."""
    return ProcessorTimes(_machine_s(), _own_s(), time.monotonic())


class ByShare:
    """A machine's counter, of which a process is charged its share of the processor time, second by second.

    What several processes are charged adds up to what the counter shows at most: what nobody works for is nobody's.
    It is an estimate: a process that keeps the wide units of a core busy takes more than one that waits for memory.
    """

    def __init__(self, sensor: RaplSensor) -> None:
        facts = sensor.facts
        self.facts = SensorFacts(facts.name, facts.part, f"{facts.kind} by share of processor time", False, "process")
        self.remarks: tuple[str, ...] = ()
        self._sensor = sensor
        self._sampler = Sampler(self._advance, SAMPLE_S)
        self._times = ProcessorTimes(0.0, 0.0, 0.0)
        self._counted_j, self._own_j = 0.0, 0.0

    def start(self) -> None:
        """Begins to count; raises SensorError where the counter or the processor times cannot be read."""
        self._counted_j, self._own_j = 0.0, 0.0
        self._times = processor_times()
        self._sensor.start()
        self._sampler.start()

    def joules(self) -> float:
        """Returns this process's joules since ``start``; raises SensorError as the counter does."""
        try:
            self._sampler.stop()
            self._advance()
        finally:
            self._sensor.joules()
        return self._own_j

    def _advance(self) -> None:
        times, counted_j = processor_times(), self._sensor.so_far()
        self._own_j += (counted_j - self._counted_j) * times.own_share(self._times)
        self._times, self._counted_j = times, counted_j


def _machine_s() -> float:
    try:
        fields = STAT.read_text(encoding="ascii").split("\n", 1)[0].split()
        user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[1:8])
    except (OSError, ValueError) as error:
        raise SensorError(f"the machine's processor time cannot be read from {STAT}: {error}") from error
    # Guests are within user and nice; what another machine stole did not run on ours.
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    # A child's time counts while it lives, and as part of ours when it has been waited for.
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own_s = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    ticks = 0
    for pid in family() - {os.getpid()}:
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in brackets, may hold anything.
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return own_s + ticks / os.sysconf("SC_CLK_TCK")
