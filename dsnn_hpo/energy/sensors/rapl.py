"""The processor's energy counters (RAPL), by Linux's powercap tree.

Each socket is a zone ``intel-rapl:N`` named ``package-N`` (on AMD, too); its memory, where it has a counter, a zone
below it named ``dram``. The zones ``core`` and ``uncore`` are within a package, ``psys`` holds the packages, and
``intel-rapl-mmio`` shows the same counters again: these are never added. A counter begins again at 0 beyond
``max_energy_range_uj``, on some processors every two minutes under load, so that it is read every second.

Source: https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Literal

from dsnn_hpo.energy.sensors._sampler import Sampler
from dsnn_hpo.energy.sensors._sensor import Found, Lack, SensorFacts
from dsnn_hpo.errors import SensorError

POWERCAP = Path("/sys/class/powercap")
J_PER_UJ = 1e-6
# More than any socket or its memory takes: a counter that says so has jumped.
MAX_W = 1000.0
# The counter itself steps every millisecond; so much longer may a step seem.
STEP_S = 0.05
SAMPLE_S = 1.0
# A processor that takes nothing for so long has a counter that does not count, as some virtual machines show.
STANDSTILL_S = 1.0


class RaplSensor:
    """The sum of some zones' counters."""

    def __init__(self, facts: SensorFacts, zones: tuple[_Zone, ...]) -> None:
        self.facts = facts
        self.remarks: tuple[str, ...] = ()
        self._zones = zones
        self._sampler = Sampler(self._advance, min(SAMPLE_S, *(zone.range_j / (4 * MAX_W) for zone in zones)))

    def start(self) -> None:
        """Begins to count; raises SensorError where a counter cannot be read."""
        for zone in self._zones:
            zone.start()
        self._sampler.start()

    def joules(self) -> float:
        """Returns the joules since ``start``; raises SensorError where a counter vanished, jumped or stood still."""
        self._sampler.stop()
        spent_j = self.so_far()
        for zone in self._zones:
            zone.check_that_it_counts(STANDSTILL_S)
        return spent_j

    def so_far(self) -> float:
        """Returns the joules since ``start`` and goes on counting; raises SensorError as ``joules``."""
        self._advance()
        return sum(zone.joules for zone in self._zones)

    def _advance(self) -> None:
        for zone in self._zones:
            zone.advance()


class _Zone:
    """One counter, unwrapped: ``joules`` since ``start``, as of the last ``advance``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / "energy_uj"
        self.name = name
        self.range_j = _number(folder / "max_energy_range_uj", self.name) * J_PER_UJ
        if not self.range_j > 0:
            raise SensorError(f"the range of RAPL's counter of {self.name} is {self.range_j} J")
        self.joules = 0.0
        self._last_j, self._last_s = self._read()
        self._began_s = self._last_s
        self._lock = threading.Lock()

    def start(self) -> None:
        self.joules = 0.0
        self._last_j, self._last_s = self._read()
        self._began_s = self._last_s

    def check_that_it_counts(self, within_s: float) -> None:
        if self.joules == 0 and self._last_s - self._began_s >= within_s:
            raise SensorError(
                f"RAPL's counter of {self.name} stood still at {self._last_j:.3f} J for "
                f"{self._last_s - self._began_s:.1f} s ({self._file})"
            )

    def check_at_zero(self) -> None:
        # Where nothing counts it is 0 for ever; any other figure has been counted.
        if self._last_j == 0:
            time.sleep(STEP_S)
            self.advance()
            self.check_that_it_counts(0.0)

    def advance(self) -> None:
        with self._lock:
            now_j, now_s = self._read()
            step_j, seconds = now_j - self._last_j, now_s - self._last_s
            limit_j = MAX_W * (seconds + STEP_S)
            wraps = step_j < 0
            if wraps:
                step_j += self.range_j
            # A counter that was set back looks like one that has wrapped, but for the power it would have taken.
            if not 0 <= step_j <= limit_j:
                came = "went back without wrapping" if wraps else "jumped"
                raise SensorError(
                    f"RAPL's counter of {self.name} {came}: from {self._last_j:.3f} J to {now_j:.3f} J in {seconds:.3f} s "
                    f"({self._file}; after a suspend or a reset, measure again)"
                )
            self.joules += step_j
            self._last_j, self._last_s = now_j, now_s

    def _read(self) -> tuple[float, float]:
        return _number(self._file, self.name) * J_PER_UJ, time.monotonic()


def find_rapl(root: Path = POWERCAP) -> Found:
    """Returns sensors of all packages and, where each has a counter for it, of memory; never of a part of the sockets."""
    folders = sorted(folder for folder in root.glob("intel-rapl:*") if folder.name.count(":") == 1)
    if not folders:
        what = f"no counters of the processor (RAPL) at {root}"
        mend = "sudo modprobe intel_rapl_msr   # on the machine itself: virtual machines and most containers show none"
        return Found(lacks=(Lack("cpu", what, mend), Lack("ram", "no counter of memory")))
    try:
        packages = [folder for folder in folders if _text(folder / "name").startswith("package")]
        if not packages:
            return Found(
                lacks=(Lack("cpu", f"no package among the zones at {root}: psys alone is more than a processor"),)
            )
        cpu = _sensor("cpu", packages)
    except SensorError as error:
        return Found(lacks=(Lack("cpu", str(error), _mend(root, error)),))
    try:
        drams = [zone for package in packages for zone in _memory_of(package)]
        ram = _sensor("ram", drams) if len(drams) == len(packages) else None
    except SensorError as error:
        return Found((cpu,), (Lack("ram", str(error), _mend(root, error)),))
    if ram is None:
        return Found((cpu,), (Lack("ram", "this processor has no counter of memory"),))
    return Found((cpu, ram))


def _sensor(part: Literal["cpu", "ram"], folders: list[Path]) -> RaplSensor:
    """Returns a sensor of zones that can all be read and that count; raises SensorError otherwise."""
    names = [_text(folder / "name") for folder in folders]
    if part == "ram":
        names = [f"{name} of {_text(folder.parent / 'name')}" for name, folder in zip(names, folders, strict=True)]
    zones = tuple(_Zone(folder, name) for folder, name in zip(folders, names, strict=True))
    for zone in zones:
        zone.check_at_zero()
    return RaplSensor(SensorFacts(", ".join(names), part, "rapl", True, "machine"), zones)


def _memory_of(package: Path) -> list[Path]:
    return [folder for folder in sorted(package.glob(f"{package.name}:*")) if _text(folder / "name") == "dram"]


def _mend(root: Path, error: SensorError) -> str:
    if not isinstance(error.__cause__, PermissionError):
        return ""
    rule = r"""SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod a+r /sys%p/energy_uj" """.strip()
    return (
        f"sudo chmod a+r {root}/intel-rapl:*/energy_uj   # until the next start; for good, "
        f"in /etc/udev/rules.d/90-rapl.rules: {rule}"
    )


def _number(file: Path, zone: str) -> int:
    text = _text(file)
    try:
        return int(text)
    except ValueError as error:
        raise SensorError(f"RAPL's counter of {zone} reads {text!r}, which is no number ({file})") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except PermissionError as error:
        raise SensorError(f"RAPL's counter may be read by root only ({file})") from error
    except OSError as error:
        raise SensorError(f"RAPL's counter cannot be read: {error.strerror or error} ({file})") from error
