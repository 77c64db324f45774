"""Small frozen networks of every operator."""

from __future__ import annotations

import functools

import torch
from torch import nn

from dsnn_hpo.deploy import ModelFacts, Preprocessing
from dsnn_hpo.executor import Executor, freeze
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import (
    Adder,
    MinConv,
    Operator,
    ShiftAdd,
    ShiftConfig,
    SpatialShift,
    WinogradAdder,
    convert_,
    keep_first,
    keep_last,
    matching,
    set_progress_,
)

CHOICES: dict[str, Operator | None] = {
    "shift": ShiftConfig(weight_bits=4),
    "shift of 2 bits": ShiftConfig(weight_bits=2),
    "shift of 6 bits": ShiftConfig(weight_bits=6),
    "two-term": ShiftConfig(shift_type="two_term", weight_bits=3),
    "two-term of 5 bits": ShiftConfig(shift_type="two_term", weight_bits=5),
    "adder": Adder(),
    "minimum": MinConv(),
    "shift and adder": ShiftAdd(ShiftConfig(), Adder()),
    "spatial shift": SpatialShift(),
    "int8": None,
}
WINOGRAD = WinogradAdder()
SMALL = {
    "mlp": {"width": 24},
    "cnn": {"width": 5},
    "resnet20": {"width": 6, "depth": 1},
    "mobilenet_v2": {"width": 0.1},
    "vgg11": {"width": 4},
    "googlenet": {},
}


def pixels(n: int, shape: tuple[int, int, int], seed: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)


def normalised(images: torch.Tensor) -> torch.Tensor:
    n_channels = images.shape[1]
    mean, std = (torch.tensor(m[:n_channels]).view(1, -1, 1, 1) for m in MOMENTS)
    return (images.float() / 255 - mean) / std


MOMENTS = ((0.4, 0.5, 0.6), (0.25, 0.31, 0.2))


def facts_of(executor: Executor) -> ModelFacts:
    n_channels = executor.plan.input_shape[0]
    mean, std = (tuple(torch.tensor(m[:n_channels]).tolist()) for m in MOMENTS)
    classes = tuple(f"class {number}" for number in range(executor.plan.n_outputs))
    return ModelFacts("small", classes, Preprocessing(mean, std), "noise", {"lr": 0.1, "depth": 3, "flag": True})


@functools.cache
def frozen(model: str, choice: str, shape: tuple[int, int, int] = (3, 9, 11)) -> Executor:
    """Returns an executor of a network whose inner layers are of one operator, all of them where it is shifts."""
    operator = WINOGRAD if choice == "winograd" else CHOICES[choice]
    torch.manual_seed(1)
    network = build_model(model, shape, 10, SMALL[model])
    x = normalised(pixels(64, shape))
    if operator is not None:
        chooser = matching("*", operator)
        if choice not in ("shift", "two-term"):
            chooser = keep_first(keep_last(chooser, network), network)
        network = convert_(network, chooser, from_trained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = None
    set_progress_(network, 1.0)
    with torch.no_grad():
        network.train()(x)
    return freeze(network.eval(), x)
