"""A powercap tree on disk as Linux shows it: sockets, their parts, psys, and the same counters again by MMIO."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RANGE_UJ = 262_143_328_850


class Powercap:
    """The tree, of ``n_packages`` sockets; ``add`` moves its counters as the hardware does, beginning again at the range."""

    def __init__(self, root: Path, n_packages: int = 2, dram: bool = True, range_uj: int = RANGE_UJ) -> None:
        self.root = root
        self.range_uj = range_uj
        (root / "intel-rapl").mkdir()
        for i in range(n_packages):
            self._zone(f"intel-rapl:{i}", f"package-{i}")
            self._zone(f"intel-rapl:{i}/intel-rapl:{i}:0", "core")
            if dram:
                self._zone(f"intel-rapl:{i}/intel-rapl:{i}:1", "dram")
        self._zone(f"intel-rapl:{n_packages}", "psys")
        self._zone("intel-rapl-mmio:0", "package-0")
        # At the top all zones are seen, those below others, too.
        for zone in sorted(root.glob("intel-rapl:*/intel-rapl:*")):
            (root / zone.name).symlink_to(zone)

    def _zone(self, path: str, name: str) -> None:
        folder = self.root / path
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{self.range_uj}\n")
        self.set(path, 1_000_000)

    def set(self, zone: str, uj: int) -> None:
        # A counter is never seen half written.
        file = self.root / zone / "energy_uj"
        new = file.with_suffix(".new")
        new.write_text(f"{uj}\n")
        new.replace(file)

    def get(self, zone: str) -> int:
        return int((self.root / zone / "energy_uj").read_text())

    def add(self, zone: str, joules: float) -> None:
        self.set(zone, (self.get(zone) + round(joules * 1e6)) % self.range_uj)

    @contextmanager
    def running(self, zone: str, watts: float, step_s: float = 0.005) -> Iterator[list[float]]:
        """Counts so many watts for as long as it lasts; yields a list whose one value is the joules so far."""
        over, joules = threading.Event(), [0.0]

        def run() -> None:
            last = time.monotonic()
            while not over.wait(step_s):
                now = time.monotonic()
                step_j = round(watts * (now - last), 6)
                self.add(zone, step_j)
                joules[0] += step_j
                last = now

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield joules
        finally:
            over.set()
            thread.join()
