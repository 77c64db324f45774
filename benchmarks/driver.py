"""What the driver itself costs a trial: journal, progress and MLflow mirror, with evaluations that take no time.

    python benchmarks/driver.py [--trials N ...] [--json FILE]

Interleaved with a peer in the same process: Optuna's `study.optimize` on a SQLite storage, which records trials of the same
number of hyperparameters durably but mirrors nothing. Wall time and processor time (the mirror works in a thread of its own: its
share is in the processor time) a trial, medians over rounds. Proposals come from random search; a model's are not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import optuna

from dsnn_hpo.cli._progress import show_progress
from dsnn_hpo.experiment import Driver, ExperimentConfig, RunFolder
from dsnn_hpo.experiment._mirror import open_run_mirror
from dsnn_hpo.journal import Header, History, Journal
from dsnn_hpo.optimizers import make_optimizer
from dsnn_hpo.search_space import ModelFacts, find_space, load_search_space
from dsnn_hpo.trial import OBJECTIVES, Epoch, Result, Trial, TrialState

TARGET_MS = 50.0
N_ROUNDS = 3


class InlineExecutor:
    """Runs calls at once, in this process."""

    n_workers = 1

    def submit(self, function: Any, *arguments: object) -> Future[Any]:
        """Returns the result of the call."""
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future

    def close(self, *, wait: bool) -> None:
        """Does nothing."""


def instant(trial: Trial) -> Result:
    """Returns a made-up result with a curve of nine epochs."""
    error = 0.1 + 0.8 * (trial.seed % 1000) / 1000
    curve = tuple(Epoch(n, 2.0 / n, error, 0.1, 0.01) for n in range(1, trial.fidelity + 1))
    values = {"error": error, "inference_energy_j": 1.0 / error, "model_size_bytes": 1000.0, "train_energy_j": 1.0}
    return Result(
        trial, TrialState.COMPLETED, values=values, curve=curve, n_epochs=trial.fidelity, test_values={"error": error}
    )


def ours(n_trials: int, mirrored: bool) -> tuple[float, float]:
    """Returns milliseconds of wall time and of processor time a trial."""
    config = ExperimentConfig.model_validate(
        {
            "name": "driver",
            "task": {"dataset": "digits", "model": "cnn"},
            "search_space": "dsnn",
            "objectives": ["error", "inference_energy_j"],
            "fidelity": {"min_epochs": 9, "max_epochs": 9},
            "optimizer": "random",
            "budget": {"trials": n_trials},
        }
    )
    facts = ModelFacts("cnn", {"width": 16, "depth": 2}, lambda arguments: int(arguments.get("depth", 2)), lambda _: 2)
    space = load_search_space(find_space("dsnn", Path.cwd()), facts, seed=0)
    objectives = [OBJECTIVES[name] for name in config.objectives]
    header = Header("r", config.name, time.time(), {}, "", config.objectives, config.rungs, {}, store="mlflow.db")
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        optimizer = make_optimizer(config.optimizer, space, objectives, config.rungs, seed=0)
        with Journal.create(folder.journal, header) as journal, contextlib.redirect_stderr(io.StringIO()):
            mirror = open_run_mirror(config, folder, header) if mirrored else None
            with show_progress(config, folder.path) as progress:
                observers = [progress] if mirror is None else [progress, mirror]
                driver = Driver(optimizer, InlineExecutor(), instant, journal, History(header, ()), observers)
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
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
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
