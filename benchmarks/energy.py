"""How far measured energy is to be trusted: repeated, beside another worker, and what measuring costs a training.

    python benchmarks/energy.py [--quick] [--scope process|machine] [--powercap DIR] [--json FILE]

Three questions, each with what is asked of the answer; on a quiet machine, on one thread a worker:

* ten measurements of one frozen network: the standard deviation over the mean, at most 5 %;
* two workers that measure the same network at once, taking turns as workers do, against one alone: at most 10 % apart;
  and, for what the turns are good for, without them;
* a training with a meter, in windows of ten seconds as a worker has them, against one without: at most 2 % longer. The
  two take turns, and the processor's time is taken, which holds that of the meter's threads.

`--quick` shows that it runs; its figures mean little.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, Literal

import torch

from dsnn_hpo.data import PreparedData, load_dataset, make_split, prepare
from dsnn_hpo.energy import EnergyConfig, Measured, MeasuringPlan, Meter, make_meter, measure, measuring_alone, survey
from dsnn_hpo.energy.sensors import POWERCAP
from dsnn_hpo.executor import freeze
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import ShiftConfig, convert_, matching
from dsnn_hpo.training import Checkpoint, TrainingSettings, train

INPUT_SHAPE = (3, 32, 32)
TARGET_SPREAD = 0.05
TARGET_BESIDE = 0.10
TARGET_OVERHEAD = 0.02
RECORDED_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Bench:
    """How long to measure, and by which meter."""

    scope: Literal["process", "machine"]
    powercap: Path
    n_measurements: int
    window_s: float
    n_windows: int
    n_rounds: int
    n_epochs: int

    def meter(self) -> Meter:
        """Returns a meter of this machine."""
        return make_meter(EnergyConfig(scope=self.scope), self.powercap)


def frozen_work() -> Callable[[], int]:
    """Returns a pass of a frozen ResNet20 with shift layers over 64 samples."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build_model("resnet20", INPUT_SHAPE, 10, {})
    convert_(network, matching("*", ShiftConfig("Q", 5)), from_trained=True)
    samples = torch.randn(64, *INPUT_SHAPE)
    executor = freeze(network.eval(), samples)

    def work() -> int:
        executor(samples)
        return len(samples)

    return work


def repeatability(bench: Bench) -> tuple[list[Measured], float]:
    """Returns measurements of one frozen network, and their standard deviation over the mean."""
    work, meter = frozen_work(), bench.meter()
    plan = MeasuringPlan(bench.window_s, bench.n_windows)
    measured = []
    for _ in range(bench.n_measurements):
        with measuring_alone():
            measured.append(measure(work, meter, plan))
    values = [each.value_j for each in measured]
    return measured, statistics.stdev(values) / statistics.fmean(values)


def worker(bench: Bench, takes_turns: bool) -> float:
    """Returns the joules per 1,000 samples that a worker measures."""
    work, meter = frozen_work(), bench.meter()
    with measuring_alone() if takes_turns else contextlib.nullcontext():
        return measure(work, meter, MeasuringPlan(bench.window_s, bench.n_windows)).value_j


def beside(bench: Bench) -> dict[str, float]:
    """Returns how far two workers' figures are from one's, with turns and without: the median of the rounds."""
    apart: dict[str, list[float]] = {"in turns": [], "at once": []}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        _measured_by(pool, 2, bench, True)
        for _ in range(bench.n_rounds):
            [alone] = _measured_by(pool, 1, bench, True)
            for name, takes_turns in (("in turns", True), ("at once", False)):
                both = _measured_by(pool, 2, bench, takes_turns)
                apart[name].append(statistics.fmean(both) / alone - 1)
    return {name: statistics.median(values) for name, values in apart.items()}


def _measured_by(pool: Pool, n_workers: int, bench: Bench, takes_turns: bool) -> list[float]:
    return pool.starmap(worker, [(bench, takes_turns)] * n_workers, chunksize=1)


def overhead(bench: Bench) -> tuple[float, float]:
    """Returns how much longer a measured training takes, the median of the rounds, and the milliseconds of a window."""
    torch.set_num_threads(1)
    dataset = load_dataset("digits", None)
    data = prepare(dataset, make_split(dataset, 0), "standard")
    meter = bench.meter()
    training_s(data, bench.n_epochs, meter)
    longer = []
    for number in range(bench.n_rounds):
        turns: list[Meter | None] = [None, meter] if number % 2 else [meter, None]
        seconds = {turn is not None: training_s(data, bench.n_epochs, turn) for turn in turns}
        longer.append(seconds[True] / seconds[False] - 1)
    started = time.perf_counter()
    for _ in range(50):
        meter.begin()
        meter.end()
    return statistics.median(longer), (time.perf_counter() - started) / 50 * 1000


def training_s(data: PreparedData, n_epochs: int, meter: Meter | None) -> float:
    """Returns the processor seconds of a training on digits, with the meter's windows if it has one."""
    torch.manual_seed(0)
    network = build_model("cnn", data.input_shape, data.n_classes, {"width": 16, "depth": 3})
    convert_(network, matching("*", ShiftConfig("Q", 5)), from_trained=False)
    settings = TrainingSettings(
        optimizer="SGD", lr=0.05, weight_decay=0.0, batch_size=32, max_epochs=n_epochs, seed=0, momentum=0.9
    )
    opened_s = time.monotonic()

    def after_epoch(_snapshot: Callable[[], Checkpoint]) -> None:
        nonlocal opened_s
        if meter is not None and time.monotonic() - opened_s >= RECORDED_EVERY_S:
            meter.end()
            meter.begin()
            opened_s = time.monotonic()

    started = time.process_time()
    if meter is not None:
        meter.begin()
    try:
        train(network, data, settings, n_epochs, after_epoch=after_epoch)
    finally:
        if meter is not None:
            meter.end()
    return time.process_time() - started


def main() -> None:
    """Prints the figures and, if asked, writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scope", choices=["process", "machine"], default="machine")
    parser.add_argument("--powercap", type=Path, default=POWERCAP)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    lengths: dict[str, Any] = {"n_measurements": 10, "window_s": 5.0, "n_windows": 5, "n_rounds": 5, "n_epochs": 60}
    if arguments.quick:
        lengths = {"n_measurements": 3, "window_s": 0.3, "n_windows": 2, "n_rounds": 1, "n_epochs": 3}
    bench = Bench(arguments.scope, arguments.powercap, **lengths)
    found = survey(EnergyConfig(scope=bench.scope), bench.powercap)
    print(found, flush=True)
    measured, spread = repeatability(bench)
    print(
        f"inference: {statistics.fmean(each.value_j for each in measured):.4g} J/1000 samples, {measured[0].provenance}"
    )
    print(f"{len(measured)} measurements spread by {spread:.2%}, at most {TARGET_SPREAD:.0%} asked", flush=True)
    apart = beside(bench)
    print(f"two workers, in turns: {apart['in turns']:+.1%}, at most {TARGET_BESIDE:.0%} asked either way")
    print(f"two workers, at once: {apart['at once']:+.1%}", flush=True)
    longer, window_ms = overhead(bench)
    print(f"measured training: {longer:+.2%}, at most {TARGET_OVERHEAD:.0%} asked; a window takes {window_ms:.2f} ms")
    if arguments.json:
        figures = {
            "survey": found.headline,
            "values_j": [each.value_j for each in measured],
            "remarks": sorted({remark for each in measured for remark in each.provenance.remarks}),
            "spread": spread,
            "beside": apart,
            "overhead": longer,
            "window_ms": window_ms,
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
