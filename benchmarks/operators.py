"""Trains one network with each multiplication-free operator: test accuracy, seconds an epoch, what an inference costs.

    python benchmarks/operators.py [--only NAME ...] [--epochs N] [--quick] [--json FILE] [--guide]

ResNet20's family on Fashion-MNIST: 10,000 training images, flipped at random, the official 10,000 test images; one
seed, one number of epochs, a cosine schedule. An operator takes all convolutions, or all but the first where its paper
leaves that alone; the last linear layer follows the paper too. Optimizer and learning rate are each operator's own
(`RECIPES`). The rows are kept beside this file and put into docs/operators.md with ``--guide``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from operators_table import OPERATIONS, Row, update_guide
from timing import Turns, interleaved
from torch import nn

from dsnn_hpo.data import PreparedData, batches, load_dataset, make_split, prepare
from dsnn_hpo.executor import Executor, freeze
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import (
    OPERATORS,
    ShiftConfig,
    convert_,
    count_operations,
    keep_first,
    keep_last,
    matching,
    operator,
    parameter_groups,
)
from dsnn_hpo.training import TrainingSettings, error_rate, train
from dsnn_hpo.training._train import _step_

SEED = 0
N_TRAIN, N_VALIDATION = 10_000, 2_500
FLOAT = "conv"
# Spatial shifts need 9 channels.
NETWORK = {"width": 12, "depth": 2}
N_CALIBRATION = 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network with one operator is trained.

    Attributes:
        lr: at the start.
        optimizer: by name, with its default momentum.
        weight_decay: of all parameters that the operator lets decay.
        shift: the formats of shift weights and of the activations that go into them.
        converts_first: whether the first convolution becomes the operator too.
        converts_last: whether the last linear layer does.
        float_share: share of the epochs that the float network is trained before it is converted.
    """

    lr: float = 5e-3
    optimizer: str = "Adam"
    weight_decay: float = 1e-4
    shift: ShiftConfig = field(
        default_factory=lambda: ShiftConfig(
            weight_bits=4, activation_integer_bits=6, activation_fraction_bits=10, activation_rounding="nearest"
        )
    )
    converts_first: bool = False
    converts_last: bool = False
    float_share: float = 0.0


_DEFAULT = Recipe()
_THREE_BITS = replace(_DEFAULT, shift=replace(_DEFAULT.shift, weight_bits=3))
RECIPES: Mapping[str, Recipe] = {
    "shift_q": replace(_DEFAULT, converts_first=True, converts_last=True),
    "shift_ps": replace(_DEFAULT, converts_first=True, converts_last=True, lr=1e-2),
    "dense_shift": _THREE_BITS,
    "s3": _THREE_BITS,
    "min_conv": replace(_DEFAULT, float_share=0.5, lr=1e-3),
}


def network_of(name: str, *, start: nn.Module | None, recipe: Recipe) -> nn.Module:
    """Returns the network with operator ``name``, from ``start``, a trained float network, or from its own draw."""
    torch.manual_seed(SEED)
    network = build_model("resnet20", (1, 28, 28), 10, NETWORK) if start is None else start
    chosen = operator(name, recipe.shift)
    if chosen is None:
        return network
    choose = matching("*", chosen)
    if not recipe.converts_first:
        choose = keep_first(choose, network)
    if not recipe.converts_last:
        choose = keep_last(choose, network)
    return convert_(network, choose, from_trained=start is not None)


def data_set() -> PreparedData:
    """Returns Fashion-MNIST, cut once and for all."""
    dataset = load_dataset("fashion_mnist", None, None)
    return prepare(dataset, make_split(dataset, SEED, n_train=N_TRAIN, n_validation=N_VALIDATION))


def trained(name: str, data: PreparedData, n_epochs: int) -> tuple[nn.Module, float]:
    """Returns the trained network of an operator and the processor's seconds an epoch."""
    recipe = RECIPES.get(name, _DEFAULT)
    n_float = round(recipe.float_share * n_epochs)
    start = None
    if n_float:
        start = network_of(FLOAT, start=None, recipe=_DEFAULT)
        train(start, data, _settings(_DEFAULT, n_float), n_float)
    network = network_of(name, start=start, recipe=recipe)
    n_left = n_epochs - n_float
    started = time.process_time()
    train(network, data, _settings(recipe, n_left), n_left)
    return network, (time.process_time() - started) / n_left


def _integer_error(executor: Executor, data: PreparedData) -> float:
    """Returns the share of test images that the frozen network misclassifies."""
    n_wrong = 0
    for images, labels in batches(data.test, 500, mean=data.mean, std=data.std):
        n_wrong += int((executor(images).argmax(dim=1) != labels).sum())
    return n_wrong / len(data.test)


def _settings(recipe: Recipe, n_epochs: int) -> TrainingSettings:
    return TrainingSettings(
        optimizer=recipe.optimizer,
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        batch_size=128,
        max_epochs=n_epochs,
        augmentation=("flip",),
        seed=SEED,
    )


def step_ratio(name: str, n_rounds: int) -> float:
    """Returns a training step's time over that of the float32 network, both taking turns."""
    steps = [_step(name), _step(FLOAT)]
    own, peer = interleaved(steps, Turns(n_rounds, 0.2))
    return statistics.median(a / b for a, b in zip(own, peer, strict=True))


def _step(name: str) -> Callable[[], object]:
    recipe = RECIPES.get(name, _DEFAULT)
    network = network_of(name, start=None, recipe=recipe)
    network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(parameter_groups(network, recipe.weight_decay), lr=1e-3, momentum=0.9)
    images = torch.randn(128, 1, 28, 28).to(memory_format=torch.channels_last)
    batch = (images, torch.randint(10, (128,)))
    return lambda: _step_(network, optimizer, batch, recipe.weight_decay)


def measured(name: str, data: PreparedData, arguments: argparse.Namespace) -> Row:
    """Returns the row of one operator, and prints it."""
    started = time.perf_counter()
    network, seconds = trained(name, data, arguments.epochs)
    error = error_rate(network, data.test, data, 500)
    counts = count_operations(network, (1, 28, 28))
    samples, _ = next(batches(data.train, N_CALIBRATION, mean=data.mean, std=data.std))
    integer_error = _integer_error(freeze(network, samples), data)
    row = Row(
        operator=name,
        test_accuracy=round(1 - error, 4),
        integer_accuracy=round(1 - integer_error, 4),
        epoch_s=round(seconds, 2),
        step_ratio=round(step_ratio(name, 2 if arguments.quick else 7), 2),
        counts={name: counts.n(name) for name in OPERATIONS},
        weight_bytes=counts.weight_bytes,
        activation_bytes=counts.read_bytes + counts.written_bytes,
    )
    print(f"{json.dumps(asdict(row))}  ({time.perf_counter() - started:.0f} s)", flush=True)
    return row


def main() -> None:
    """Measures, prints, and writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*OPERATORS], metavar="NAME", help="some operators instead of all")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    parser.add_argument("--guide", action="store_true", help="put the table into the guide, the rows beside this file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.epochs = 1
    # On one thread it is the processor's time that counts, which neighbours on the machine disturb less.
    torch.set_num_threads(1)
    data = data_set()
    rows = [measured(name, data, arguments) for name in arguments.only or OPERATORS]
    if arguments.json:
        arguments.json.write_text(Row.to_json(rows), encoding="utf-8")
    if arguments.guide:
        update_guide(rows)


if __name__ == "__main__":
    main()
