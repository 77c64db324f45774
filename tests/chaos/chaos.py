"""Lets faults strike a search, and checks that it ends as if nothing had happened.

    python -m tests.chaos.chaos [--trials N] [--faults N] [--workers N] [--seed N] [--keep DIR]

The command line runs a real search (random proposals, digits, error against model size). Meanwhile workers and the driver are
killed with signal 9, the run's disk is full or read-only for a while, its MLflow server hangs or is gone, and the clock
jumps. A driver that ended is resumed. At the end every trial must have exactly one result, and the front must be that of
a search that nothing disturbed. Faults that this machine does not allow (a disk of its own takes root, a clock
a C compiler) are named and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsnn_hpo.journal import History, read
from tests.chaos.surroundings import Clock, Disk, Server

EXPERIMENT = """
name: chaos
task: {{dataset: digits, model: mlp}}
search_space: dsnn
objectives: [error, model_size_bytes]
fidelity: {{min_epochs: 3, max_epochs: 3}}
optimizer: random
budget: {{trials: {n_trials}}}
execution: {{workers: {n_workers}, threads: 1, attempts: 100}}
energy: {{country: DEU}}
{tracking}
seed: 0
"""
DEADLINE_S = 3600
LONGEST_WAIT_S = 20.0
FAULTS = ("worker", "driver", "full disk", "read-only disk", "server", "clock")
WEIGHTS = (45, 15, 10, 10, 10, 10)


@dataclass
class Search:
    """A search by the command line, in a folder, begun again whenever its driver has ended."""

    folder: Path
    experiment: Path
    environment: dict[str, str]
    n_starts: int = 0
    driver: subprocess.Popen[bytes] | None = None
    messages: list[str] = field(default_factory=list)

    def ensure_driver(self) -> bool:
        """Returns whether the search is over; starts a driver if there is none."""
        if self.driver is not None:
            code = self.driver.poll()
            if code is None:
                return False
            if code == 0:
                return True
        begun = (self.folder / "journal.jsonl").exists()
        what = ["resume", str(self.folder)] if begun else ["run", str(self.experiment), "--out", str(self.folder)]
        self.n_starts += 1
        with (self.folder.parent / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "dsnn_hpo", *what], env=self.environment, stdout=log, stderr=log
            )
        return False

    def workers(self) -> list[int]:
        """Returns the processes of the driver's workers."""
        return [] if self.driver is None else [pid for pid in _children(self.driver.pid) if _is_worker(pid)]

    def n_told(self) -> int:
        """Returns how many trials have a result."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "journal.jsonl").read_bytes().count(b'"event":"told"')
        return 0


def _children(parent: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    yield int(entry.name)


def _is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


class Chaos:
    """Faults that can strike here, each a function that lets it strike and returns once it is over."""

    def __init__(self, search: Search, rng: random.Random, disk: Disk, server: Server, clock: Clock) -> None:
        self._search, self._rng = search, rng
        every: dict[str, Callable[[], None] | None] = {
            "worker": self._kill_worker,
            "driver": self._kill_driver,
            "full disk": self._during(disk.full) if disk.is_own else None,
            "read-only disk": self._during(disk.read_only) if disk.is_own else None,
            "server": self._during(server.away) if server.is_there else None,
            "clock": lambda: clock.jump(rng.choice((-86400, -60, 60, 86400))),
        }
        if not clock.is_ours:
            every["clock"] = None
        self.faults = {name: strike for name, strike in every.items() if strike is not None}
        self.left_out = [name for name, strike in every.items() if strike is None]
        self.struck: Counter[str] = Counter()

    def strike(self) -> None:
        """Lets a random fault strike."""
        names = list(self.faults)
        (name,) = self._rng.choices(names, [WEIGHTS[FAULTS.index(name)] for name in names])
        self.struck[name] += 1
        self.faults[name]()

    def _kill_worker(self) -> None:
        workers = self._search.workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._rng.choice(workers), signal.SIGKILL)

    def _kill_driver(self) -> None:
        if self._search.driver is not None:
            self._search.driver.kill()
            self._search.driver.wait()

    def _during(self, fault: Callable[[], contextlib.AbstractContextManager[None]]) -> Callable[[], None]:
        def strike() -> None:
            with fault():
                time.sleep(self._rng.uniform(0.2, 2.0))

        return strike


def undisturbed(folder: Path, n_trials: int, n_workers: int) -> History:
    """Returns the history of a search that nothing disturbs."""
    experiment = folder / "experiment.yaml"
    experiment.write_text(EXPERIMENT.format(n_trials=n_trials, n_workers=n_workers, tracking=""))
    search = Search(folder / "run", experiment, dict(os.environ))
    while not search.ensure_driver():
        assert search.n_starts == 1, "a search that nothing disturbs failed; see its driver.log"
        time.sleep(0.2)
    return read(search.folder / "journal.jsonl")


def disturbed(folder: Path, n_trials: int, n_faults: int, n_workers: int, rng: random.Random) -> tuple[History, str]:
    """Returns the history of a search that faults strike, and a line that says which did."""
    with (
        Disk.made(folder / "disk") as disk,
        Server.made(folder / "server") as server,
        Clock.made(folder / "clock") as clock,
    ):
        experiment = folder / "experiment.yaml"
        tracking = f"tracking: {{uri: '{server.address}'}}" if server.is_there else ""
        experiment.write_text(EXPERIMENT.format(n_trials=n_trials, n_workers=n_workers, tracking=tracking))
        search = Search(disk.folder / "run", experiment, {**os.environ, **clock.environment})
        chaos = Chaos(search, rng, disk, server, clock)
        deadline = time.monotonic() + DEADLINE_S
        for number in range(n_faults):
            # Spread over the search, however fast that is.
            until = time.monotonic() + LONGEST_WAIT_S
            while search.n_told() < n_trials * number / n_faults and time.monotonic() < until:
                search.ensure_driver()
                time.sleep(0.05)
            time.sleep(rng.uniform(0.0, 0.5))
            search.ensure_driver()
            chaos.strike()
        while not search.ensure_driver():
            assert time.monotonic() < deadline, "the search did not end"
            time.sleep(0.2)
        shutil.copy(search.folder / "journal.jsonl", folder / "journal.jsonl")
        struck = ", ".join(f"{n} x {name}" for name, n in chaos.struck.items())
        left_out = f"; not possible here: {', '.join(chaos.left_out)}" if chaos.left_out else ""
    return read(folder / "journal.jsonl"), f"{struck}; {search.n_starts} drivers{left_out}"


def check(history: History, peer: History, n_trials: int) -> None:
    """Checks that every trial has exactly one result, a completed one, and that both searches found the same front."""
    told = [result.trial.id for result in history.results]
    assert sorted(told) == list(range(n_trials)), f"trials without exactly one result: {Counter(told)}"
    failed = [result.error for result in history.results if not result.values]
    assert failed == [result.error for result in peer.results if not result.values], f"failed: {failed}"
    assert history.finished
    names = [objective.name for objective in history.objectives]
    ours, theirs = ([(m.trial.key, *(m.values[n] for n in names)) for m in h.front()] for h in (history, peer))
    assert ours == theirs, f"the fronts differ: {ours} and {theirs}"


def run(folder: Path, n_trials: int, n_faults: int, n_workers: int, seed: int) -> str:
    """Returns a line on what happened, after running both searches and checking them; raises AssertionError."""
    for name in ("quiet", "chaos"):
        (folder / name).mkdir(parents=True)
    peer = undisturbed(folder / "quiet", n_trials, n_workers)
    history, struck = disturbed(folder / "chaos", n_trials, n_faults, n_workers, random.Random(seed))
    check(history, peer, n_trials)
    return (
        f"{n_trials} trials, {n_faults} faults ({struck}): each trial has one result, {history.n_lost} attempts were lost and "
        f"made again, {len(history.front())} on the same front"
    )


def main() -> None:
    """Runs it and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave journals and logs here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dsnn-hpo-chaos-") as name:
        folder = arguments.keep or Path(name)
        print(run(folder, arguments.trials, arguments.faults, arguments.workers, arguments.seed))


if __name__ == "__main__":
    main()
