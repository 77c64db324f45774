"""What a training step of a multiplication-free network costs, against the float32 network's in the same process.

    python benchmarks/training_step.py [--rounds N] [--batch N] [--threads N] [--json FILE]

ResNet20 at 32x32 pixels, SGD with momentum, the step of `dsnn_hpo.training` itself: forward, regulariser, backward,
update, clamp. All layers but batch normalisation are shift layers with 5-bit weights and 16.16 fixed-point activations;
or all but the first and the last, as AdderNet has it, are adder layers.
The works are interleaved, each round in another order; a ratio is the float32 step's time over ours, the median of the
rounds' own ratios. On one thread the processor's time is taken, which neighbours on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dsnn_hpo.models import build_model
from dsnn_hpo.operators import (
    Adder,
    Operator,
    ShiftConfig,
    convert_,
    keep_first,
    keep_last,
    matching,
    parameter_groups,
)
from dsnn_hpo.training._train import _step_

INPUT_SHAPE = (3, 32, 32)
N_CLASSES = 10
WEIGHT_DECAY = 1e-4
TARGETS = {"adder": 1 / 2}
TARGET_RATIO = 1 / 1.05
FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
OPERATORS: dict[str, Operator] = {
    "Q": ShiftConfig("Q", 5),
    "PS": ShiftConfig("PS", 5),
    "Q stochastic": ShiftConfig("Q", 5, rounding="stochastic"),
    "PS stochastic": ShiftConfig("PS", 5, rounding="stochastic"),
    "adder": Adder(),
}
FLOAT = "float32"


def training_step(
    operator: Operator | None, memory_format: torch.memory_format, n_samples: int
) -> Callable[[], object]:
    """Returns a function that takes one step of its own network; None is the float32 network."""
    torch.manual_seed(0)
    network = build_model("resnet20", INPUT_SHAPE, N_CLASSES, {})
    if operator is not None:
        choose = matching("*", operator)
        if isinstance(operator, Adder):
            choose = keep_first(keep_last(choose, network), network)
        network = convert_(network, choose, from_trained=False)
    network = network.to(memory_format=memory_format).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(parameter_groups(network, WEIGHT_DECAY), lr=0.01, momentum=0.9)
    images = torch.randn(n_samples, *INPUT_SHAPE).to(memory_format=memory_format)
    batch = (images, torch.randint(N_CLASSES, (n_samples,)))
    return lambda: _step_(network, optimizer, batch, WEIGHT_DECAY)


def interleaved(steps: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of each step in each round, after a round to warm up."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for round_number in range(n_rounds + 1):
        turn = round_number % len(names)
        for name in names[turn:] + names[:turn]:
            started = clock()
            steps[name]()
            if round_number:
                seconds[name].append(clock() - started)
    return seconds


def measured(format_name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns a row for each kind of shift network in one memory format, and prints them."""
    memory_format = FORMATS[format_name]
    steps = {name: training_step(operator, memory_format, arguments.batch) for name, operator in OPERATORS.items()}
    steps[FLOAT] = training_step(None, memory_format, arguments.batch)
    seconds = interleaved(steps, arguments.rounds)
    peer_ms = statistics.median(seconds[FLOAT]) * 1e3
    print(f"{format_name}, {arguments.threads} threads, batch {arguments.batch}: float32 step {peer_ms:.1f} ms")
    rows = []
    for name in OPERATORS:
        ratio = statistics.median(peer / ours for peer, ours in zip(seconds[FLOAT], seconds[name], strict=True))
        target = TARGETS.get(name, TARGET_RATIO)
        verdict = "ok" if ratio >= target else f"below the target of {target:.3f}"
        print(f"  {name:14} {statistics.median(seconds[name]) * 1e3:8.1f} ms, float32 over it {ratio:.3f}  {verdict}")
        work = f"ResNet20 training step, batch {arguments.batch}, {name}, {format_name}"
        rows.append({"work": work, "peer": "float32 step", "threads": arguments.threads, "ratio": round(ratio, 4)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [row for format_name in FORMATS for row in measured(format_name, arguments)]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
