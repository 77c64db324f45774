"""What local workers cost and gain: milliseconds to start a trial in a warm worker, and the trials of two workers against one.

    python benchmarks/workers.py [--rounds N] [--trials N] [--json FILE]

The start-up cost is that of jobs that do nothing, one after another, the peer being `concurrent.futures`' own pool, which
neither limits nor replaces its processes. The gain is measured on searches of random proposals on `digits`, one thread a
worker, by the pace from the first result to the last; one and two workers take turns.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import operator
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from dsnn_hpo.execution import Job
from dsnn_hpo.execution.local import LocalExecutor
from dsnn_hpo.experiment import ExperimentConfig, start
from dsnn_hpo.journal import Told

N_JOBS = 200
TARGET_MS = 100.0
TARGET_GAIN = 1.7


def start_up_ms() -> tuple[float, float]:
    """Returns the milliseconds a job of our pool and of the standard library's, both warm."""
    with tempfile.TemporaryDirectory() as folder:
        executor = LocalExecutor(1, 1)
        try:
            # Functions of a module: workers do not import this script.
            jobs = [Job(str(i), operator.is_, i, Path(folder) / f"{i}.log") for i in range(N_JOBS)]
            executor.submit(jobs[0]).result()
            ours = time.perf_counter()
            for job in jobs:
                executor.submit(job).result()
            ours = time.perf_counter() - ours
        finally:
            executor.close()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(operator.not_, 0).result()
        peer = time.perf_counter()
        for i in range(N_JOBS):
            pool.submit(operator.not_, i).result()
        peer = time.perf_counter() - peer
    return 1000 * ours / N_JOBS, 1000 * peer / N_JOBS


def trials_a_minute(n_workers: int, n_trials: int) -> float:
    """Returns the pace of a search, from its first result to its last."""
    with tempfile.TemporaryDirectory() as folder:
        history = start(search(n_workers, n_trials, folder), Path(folder) / "run").history
    times = [event.time for event in history.events if isinstance(event, Told)]
    return 60 * (len(times) - 1) / (times[-1] - times[0])


def search(n_workers: int, n_trials: int, folder: str) -> ExperimentConfig:
    """Returns a search that lasts a minute or so."""
    return ExperimentConfig.model_validate(
        {
            "name": "workers",
            "task": {"dataset": "digits", "model": "cnn"},
            "search_space": "dsnn",
            "objectives": ["error", "model_size_bytes"],
            "fidelity": {"min_epochs": 9, "max_epochs": 9},
            "optimizer": "random",
            "budget": {"trials": n_trials},
            "execution": {"workers": n_workers, "threads": 1},
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
        }
    )


def main() -> None:
    """Prints the figures and, if asked, writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    starts = [start_up_ms() for _ in range(arguments.rounds)]
    ours, peer = (statistics.median(start[i] for start in starts) for i in (0, 1))
    print(
        f"a trial's start-up: {ours:.1f} ms (standard library's pool: {peer:.2f}), at most {TARGET_MS:.0f} asked",
        flush=True,
    )
    paces = []
    for _ in range(arguments.rounds):
        paces.append((trials_a_minute(1, arguments.trials), trials_a_minute(2, arguments.trials)))
        print(f"trials a minute: {paces[-1][0]:.1f} with one worker, {paces[-1][1]:.1f} with two", flush=True)
    gain = statistics.median(two / one for one, two in paces)
    print(f"two workers: {gain:.2f} times the trials of one, at least {TARGET_GAIN} asked")
    if arguments.json:
        figures = {"start_up_ms": ours, "peer_start_up_ms": peer, "paces": paces, "gain": gain}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
