"""What the driver itself costs a trial: journal, progress and MLflow mirror, with evaluations that take no time.

    python benchmarks/driver.py [--trials N ...] [--growth N ...] [--json FILE]

Interleaved with a peer in the same process: Optuna's `study.optimize` on a SQLite storage, which records trials of the same
number of hyperparameters durably but mirrors nothing. Wall time and processor time (the mirror works in a thread of its own: its
share is in the processor time) a trial, medians over rounds. Proposals come from random search; a model's are not in it.

`--growth` follows long searches instead, without MLflow, with 256 trials in flight and proposals of random search or of Optuna's
NSGA-II: the driver's time a trial over the last thousand trials, its memory, and the time to resume.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import optuna

from dsnn_hpo.cli._progress import show_progress
from dsnn_hpo.execution import Job
from dsnn_hpo.experiment import Driver, ExperimentConfig, RunFolder, Workplace, replay
from dsnn_hpo.experiment._mirror import open_run_mirror
from dsnn_hpo.experiment._snapshot import Snapshots
from dsnn_hpo.experiment.config import BudgetConfig
from dsnn_hpo.journal import Header, History, Journal, Told
from dsnn_hpo.optimizers import Optimizer, make_optimizer
from dsnn_hpo.search_space import ModelFacts, find_space, load_search_space
from dsnn_hpo.trial import OBJECTIVES, Epoch, Result, Trial, TrialState

TARGET_MS = 50.0
N_ROUNDS = 3
N_IN_FLIGHT = 256
GROWING: dict[str, str | dict[str, str]] = {
    "random": "random",
    "Optuna NSGA-II": {"name": "optuna", "sampler": "nsga2"},
}


class InlineExecutor:
    """Runs jobs at once, in this process; hands over a result when as many are in flight as it has workers."""

    def __init__(self, n_workers: int = 1) -> None:
        self._n_workers = n_workers
        self._pending: deque[tuple[Job, Future[Any]]] = deque()

    @property
    def n_workers(self) -> int:
        """Returns how many jobs are in flight."""
        return self._n_workers

    def submit(self, job: Job) -> Future[Any]:
        """Returns the future result of the job."""
        future: Future[Any] = Future()
        self._pending.append((job, future))
        if len(self._pending) >= self._n_workers:
            self.finish_one()
        return future

    def finish_one(self) -> None:
        """Ends the job that was submitted first."""
        job, future = self._pending.popleft()
        future.set_result(job.function(job.argument, lambda: False))

    def interrupt(self) -> None:
        """Ends all jobs."""
        while self._pending:
            self.finish_one()

    def close(self) -> None:
        """Does nothing."""


def instant(trial: Trial, should_stop: object = None) -> Result:  # noqa: ARG001
    """Returns a made-up result with a curve of nine epochs."""
    error = 0.1 + 0.8 * (trial.seed % 1000) / 1000
    curve = tuple(Epoch(n, 2.0 / n, error, 0.1, 0.01) for n in range(1, trial.fidelity + 1))
    values = {"error": error, "inference_energy_j": 1.0 / error, "model_size_bytes": 1000.0, "train_energy_j": 1.0}
    return Result(
        trial, TrialState.COMPLETED, values=values, curve=curve, n_epochs=trial.fidelity, test_values={"error": error}
    )


def configuration(n_trials: int, optimizer: str | dict[str, str] = "random") -> ExperimentConfig:
    """Returns an experiment of so many trials."""
    return ExperimentConfig.model_validate(
        {
            "name": "driver",
            "task": {"dataset": "digits", "model": "cnn"},
            "search_space": "dsnn",
            "objectives": ["error", "inference_energy_j"],
            "fidelity": {"min_epochs": 9, "max_epochs": 9},
            "optimizer": optimizer,
            "budget": {"trials": n_trials},
        }
    )


def optimizer_of(config: ExperimentConfig) -> Optimizer:
    """Returns a fresh optimizer of the experiment."""
    facts = ModelFacts("cnn", {"width": 16, "depth": 2}, lambda arguments: int(arguments.get("depth", 2)), lambda _: 2)
    space = load_search_space(find_space("dsnn", Path.cwd()), facts, seed=0)
    objectives = [OBJECTIVES[name] for name in config.objectives]
    return make_optimizer(config.optimizer, space, objectives, config.rungs, seed=0)


def header_of(config: ExperimentConfig) -> Header:
    """Returns the header of its journal."""
    return Header("r", config.name, time.time(), {}, "", config.objectives, config.rungs, {}, store="mlflow.db")


def ours(n_trials: int, mirrored: bool) -> tuple[float, float]:
    """Returns milliseconds of wall time and of processor time a trial."""
    config = configuration(n_trials)
    header = header_of(config)
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        workplace = Workplace(InlineExecutor(), instant, folder.path, 1)
        with Journal.create(folder.journal, header) as journal, contextlib.redirect_stderr(io.StringIO()):
            mirror = open_run_mirror(config, folder, header) if mirrored else None
            with show_progress(config, folder.path) as progress:
                observers = [progress] if mirror is None else [progress, mirror]
                driver = Driver(optimizer_of(config), workplace, journal, History(header), observers)
                driver.mark("started")
                if mirror is not None:
                    # The store's tables are made once, in the background, while the first trials train.
                    while mirror.status.run_id is None:
                        time.sleep(0.05)
                wall, cpu = time.perf_counter(), time.process_time()
                driver.drive(config.budget, lambda: False)
                wall_s = time.perf_counter() - wall
                if mirror is not None:
                    status = mirror.close(300.0)
                    assert status.caught_up, status.reason
                cpu_s = time.process_time() - cpu
    return 1000 * wall_s / n_trials, 1000 * cpu_s / n_trials


class Pace:
    """Watches a search and notes the milliseconds a trial of each thousand results."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.ms: list[float] = []

    def update(self, history: History) -> None:
        """Sees the run after an event."""
        if isinstance(history.events[-1], Told) and len(history.results) % 1000 == 0:
            now = time.perf_counter()
            self.ms.append(now - self._last)
            self._last = now


def growth(n_trials: int, optimizer: str | dict[str, str]) -> dict[str, float]:
    """Returns milliseconds a trial over all and over the last thousand, MiB of memory, and seconds to resume."""
    config = configuration(n_trials, optimizer)
    header = header_of(config)
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        folder = RunFolder(Path(name))
        snapshots = Snapshots(folder, {})
        executor = InlineExecutor(N_IN_FLIGHT)
        pace = Pace()
        workplace = Workplace(executor, instant, folder.path, 1)
        with Journal.create(folder.journal, header) as journal, show_progress(config, folder.path) as progress:
            observers = [progress, pace]
            driver = Driver(optimizer_of(config), workplace, journal, History(header), observers, snapshots.keep)
            driver.mark("started")
            started = time.perf_counter()
            # No further trial would push out those in flight at the end; stopping does.
            driver.drive(BudgetConfig(trials=n_trials), lambda: len(driver.history.results) > n_trials - N_IN_FLIGHT)
            wall_s = time.perf_counter() - started
        memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started = time.perf_counter()
        opened, history = Journal.resume(folder.journal)
        with opened:
            known, n_known = snapshots.latest(history)
            replay(known or optimizer_of(config), history, n_known=n_known)
        resume_s = time.perf_counter() - started
    return {
        "ms_a_trial": 1000 * wall_s / n_trials,
        "ms_a_trial_at_the_end": pace.ms[-1] if pace.ms else 1000 * wall_s / n_trials,
        "memory_mib": memory_mib,
        "resume_s": resume_s,
    }


def print_growth(numbers: list[int]) -> list[dict[str, Any]]:
    """Returns a row for each optimizer and number of trials, each measured in a process of its own, and prints it."""
    print(f"{'optimizer':>14} {'trials':>7} {'ms a trial':>11} {'at the end':>11} {'MiB':>6} {'resumed in':>11}")
    rows = []
    for label, optimizer in GROWING.items():
        for n_trials in numbers:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                row = pool.submit(growth, n_trials, optimizer).result()
            rows.append({"optimizer": label, "n_trials": n_trials, **row})
            print(
                f"{label:>14} {n_trials:>7} {row['ms_a_trial']:>11.2f} {row['ms_a_trial_at_the_end']:>11.2f} "
                f"{row['memory_mib']:>6.0f} {row['resume_s']:>9.1f} s",
                flush=True,
            )
    return rows


def optuna_sqlite(n_trials: int) -> tuple[float, float]:
    """Returns the same of Optuna on a SQLite storage."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> float:
        return sum(trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(14))

    with tempfile.TemporaryDirectory() as folder:
        sampler = optuna.samplers.RandomSampler(seed=0)
        study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", sampler=sampler)
        wall, cpu = time.perf_counter(), time.process_time()
        study.optimize(objective, n_trials=n_trials)
        return 1000 * (time.perf_counter() - wall) / n_trials, 1000 * (time.process_time() - cpu) / n_trials


def main() -> None:
    """Prints the table and, if asked, writes its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--growth", type=int, nargs="*", metavar="N", help="follow searches of so many trials instead")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.growth is not None:
        grown = print_growth(arguments.growth or [300, 1000, 3000, 10000])
        if arguments.json:
            arguments.json.write_text(json.dumps(grown, indent=2) + "\n")
        return
    rows = []
    print(f"{'trials':>7} {'loop':>14} {'loop + MLflow':>16} {'Optuna, SQLite':>16}   (ms a trial: wall / processor)")
    for n_trials in arguments.trials:
        rounds = [(ours(n_trials, False), ours(n_trials, True), optuna_sqlite(n_trials)) for _ in range(N_ROUNDS)]
        loop, mirrored, peer = (tuple(statistics.median(r[i][j] for r in rounds) for j in (0, 1)) for i in range(3))
        rows.append(
            {
                "n_trials": n_trials,
                "loop_ms": loop,
                "loop_mlflow_ms": mirrored,
                "optuna_sqlite_ms": peer,
                "ratio": peer[0] / mirrored[0],
            }
        )
        cells = [f"{wall:6.2f} / {cpu:6.2f}" for wall, cpu in (loop, mirrored, peer)]
        print(f"{n_trials:>7} {cells[0]:>14} {cells[1]:>16} {cells[2]:>16}", flush=True)
    worst = max(max(row["loop_mlflow_ms"]) for row in rows)
    print(f"highest: {worst:.1f} ms a trial, target {TARGET_MS:.0f} ms: {'met' if worst <= TARGET_MS else 'MISSED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
