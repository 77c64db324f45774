from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dsnn_hpo.data import PreparedData, Split, load_dataset, prepare
from dsnn_hpo.operators import ShiftConfig, convert_, matching
from dsnn_hpo.training import TrainingSettings


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def data() -> PreparedData:
    # 161 = 5 * 32 + 1: the last batch has a single sample.
    rows = np.arange(400, dtype=np.int64)
    return prepare(load_dataset("digits"), Split(rows[:161], rows[161:261], rows[261:], test_is_pool=True))


@pytest.fixture
def settings() -> Callable[..., TrainingSettings]:
    def make(**changes: Any) -> TrainingSettings:
        plain: dict[str, Any] = {
            "optimizer": "SGD",
            "lr": 0.05,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "max_epochs": 6,
            "seed": 3,
            "momentum": 0.9,
        }
        return TrainingSettings(**{**plain, **changes})

    return make


def float_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(6 * 16, 10),
    )


def shift_network(shift_type: Any, rounding: Any) -> nn.Module:
    config = ShiftConfig(shift_type=shift_type, weight_bits=4, rounding=rounding)
    return convert_(float_network(), matching("*", config), from_trained=False)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "float": float_network,
    "Q deterministic": lambda: shift_network("Q", "deterministic"),
    "Q stochastic": lambda: shift_network("Q", "stochastic"),
    "PS deterministic": lambda: shift_network("PS", "deterministic"),
    "PS stochastic": lambda: shift_network("PS", "stochastic"),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Callable[[], nn.Module]:
    """Returns a constructor; each call gives the same untrained network."""
    return NETWORKS[request.param]


@pytest.fixture
def plain_network() -> Callable[[], nn.Module]:
    return float_network


@pytest.fixture
def ps_network() -> Callable[[], nn.Module]:
    return NETWORKS["PS deterministic"]
