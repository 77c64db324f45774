"""What an evaluation works on: the task, the network of a configuration, the prepared data."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import nn

from dsnn_hpo.data import PreparedData, load_dataset, load_split, prepare
from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.evaluation._config import TaskConfig
from dsnn_hpo.evaluation._settings import Settings, settings_of
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import convert_
from dsnn_hpo.trial import Config, Trial


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker must know to evaluate trials; small and picklable.

    ``folder`` is the run folder: the split is read from it, checkpoints are kept in it. ``import_paths`` are searched
    for the user's own network.
    """

    config: TaskConfig
    objectives: tuple[str, ...]
    max_epochs: int
    energy: EnergyConfig
    folder: Path
    n_threads: int
    import_paths: tuple[str, ...] = ()


class NetworkData(Protocol):
    """What a network must know of the data that it is for."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Returns the shape of a sample, (C, H, W)."""
        ...

    @property
    def n_classes(self) -> int:
        """Returns the number of classes."""
        ...


def add_import_paths(paths: Iterable[str]) -> None:
    """Lets modules in these folders be imported, after all others: a user's file must not hide a library's."""
    sys.path.extend(path for path in paths if path not in sys.path)


def output_shape(config: Config, task: Task, data: PreparedData) -> tuple[int, ...]:
    """Returns the shape that a configuration's network gives for two blank images, without training it."""
    settings = settings_of(Trial(0, config, task.max_epochs, seed=0), task.config, task.max_epochs)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        network = build_network(settings, task, data, seed=0).eval()
        return tuple(network(torch.zeros(2, *data.input_shape)).shape)


def build_network(settings: Settings, task: Task, data: NetworkData, seed: int) -> nn.Module:
    """Returns the untrained, converted network of a configuration; the seed fixes its initial weights."""
    torch.manual_seed(seed)
    network = float_network(settings, task, data)
    choose = settings.operators.chooser(network, data.input_shape)
    return convert_(network, choose, from_trained=False)


def prepared_data(config: TaskConfig, folder: Path) -> PreparedData:
    """Returns the data of a run, split and normalised; loaded once a process."""
    return _load_prepared(config.dataset, config.path, config.image_size, config.normalization, folder / "split.npz")


@lru_cache(maxsize=1)
def _load_prepared(
    name: str, path: Path | None, image_size: int | None, normalization: Literal["standard", "imagenet"], split: Path
) -> PreparedData:
    # Once a worker, not once a trial.
    return prepare(load_dataset(name, path, image_size), load_split(split), normalization)


def float_network(settings: Settings, task: Task, data: NetworkData) -> nn.Module:
    """Returns the untrained float32 network of the configuration's architecture, nothing in it converted."""
    return build_model(task.config.model, data.input_shape, data.n_classes, settings.model_arguments)
