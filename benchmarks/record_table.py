"""Records a table of our own search space: configurations trained on the digits through all epochs, once.

    python benchmarks/record_table.py [--configurations 300] [--epochs 27] [--limit N] [--table FILE]

For each configuration: validation error after each epoch (a shorter training is the beginning of the longest, so that this holds
all fidelities), packed size, modelled energy of an inference, seconds an epoch. The measured energy of an inference is left out:
it is the machine's as much as the network's. The first configuration is the default, the others are random; one that fails is
kept, without errors. Lines are added to the table as trainings end: interrupted, the same command goes on. `--limit` trains so many
at most, and says how long all would take.

The table ships (`benchmarks/search_digits.jsonl.gz`, some 100 kB); `benchmarks/search.py` reads it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from searching.recorded import SHIPPED, Row, digits_space, read_rows

from dsnn_hpo.evaluation import Task, evaluate
from dsnn_hpo.experiment._build import build
from dsnn_hpo.experiment.config import ExperimentConfig
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config, Result, Trial, TrialState, config_key

SEED = 0
EXPERIMENT = {
    "name": "digits_table",
    "task": {"dataset": "digits", "model": "cnn"},
    "search_space": "dsnn",
    "objectives": ["error", "hardware_energy_uj"],
    "optimizer": "random",
    "budget": {"trials": 1},
    "energy": {"country": "DEU", "hardware": "horowitz-45nm"},
    # Two threads wait for each other where the machine is shared, forty times as long as they compute.
    "execution": {"threads": 1},
    "seed": SEED,
}


def configurations(n: int) -> Iterator[Config]:
    """Returns the table's configurations, always the same: the default one, then random ones, none twice."""
    space = digits_space()
    space.seed(SEED)
    known: set[str] = set()
    waiting = [plain(space.get_default_configuration())]
    while len(known) < n:
        config = waiting.pop() if waiting else plain(space.sample_configuration())
        if config_key(config, SEED) not in known:
            known.add(config_key(config, SEED))
            yield config


def row_of(result: Result) -> Row:
    """Returns the row of a result."""
    config = result.trial.config
    if result.state is TrialState.FAILED:
        return Row(config, ())
    errors = tuple(epoch.validation_error for epoch in result.curve)
    seconds = sum(epoch.seconds for epoch in result.curve) / len(result.curve)
    return Row(config, errors, result.values["model_size_bytes"], result.values["hardware_energy_uj"], seconds)


def append(path: Path, row: Row) -> None:
    """Adds a row to a table; a compressed one gets a member of its own, which readers join."""
    line = json.dumps(row.to_json(), separators=(",", ":")) + "\n"
    if path.suffix == ".gz":
        with path.open("ab") as stream:
            stream.write(gzip.compress(line.encode()))
    else:
        with path.open("a") as text:
            text.write(line)


def pack(path: Path) -> None:
    """Writes a table anew as one compressed piece: a fifth of the size of one that was added to line by line."""
    rows = read_rows(path)
    text = "".join(json.dumps(row.to_json(), separators=(",", ":")) + "\n" for row in rows)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    aside.replace(path)


def record(path: Path, n: int, n_epochs: int, limit: int | None) -> None:
    """Trains what the table lacks, and prints how far it is."""
    known = {config_key(row.config, SEED) for row in (read_rows(path) if path.exists() else [])}
    left = [config for config in configurations(n) if config_key(config, SEED) not in known]
    print(f"{n} configurations, {n - len(left)} of them known", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="record-table-") as folder:
        task = task_in(Path(folder), n_epochs)
        for n_done, config in enumerate(left[:limit], start=1):
            row = row_of(evaluate(Trial(n_done, config, n_epochs, SEED), task))
            append(path, row)
            a_training = (time.monotonic() - began) / n_done
            error = f"{row.errors[-1]:.3f}" if row.errors else "failed"
            hours = a_training * (len(left) - n_done) / 3600
            print(f"{n_done}/{len(left)}: error {error}, {a_training:.1f} s each, {hours:.2f} h left", flush=True)
    if path.exists():
        pack(path)
        print(f"{path.name}: {len(read_rows(path))} configurations, {path.stat().st_size / 1e3:.0f} kB")


def task_in(folder: Path, n_epochs: int) -> Task:
    """Returns the task of the table, its split saved in a folder."""
    data = {**EXPERIMENT, "fidelity": {"min_epochs": n_epochs, "max_epochs": n_epochs}}
    experiment = build(ExperimentConfig.from_mapping(data, Path.cwd()))
    experiment.split.save(folder / "split.npz")
    return experiment.task(folder)


def main() -> None:
    """Records the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--table", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    record(arguments.table, arguments.configurations, arguments.epochs, arguments.limit)


if __name__ == "__main__":
    main()
