from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsnn_hpo.data import Split, load_dataset, make_split
from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.evaluation import Task, TaskConfig


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def digits_task(tmp_path: Path) -> Callable[..., Task]:
    """Returns a maker of tasks on 480 training and 120 validation digits with a small cnn, each in its own folder."""

    def make(folder: str = "run", objectives: tuple[str, ...] = ("error",), **changes: Any) -> Task:
        arguments: dict[str, Any] = {"width": 6, "depth": 2}
        config = {"dataset": "digits", "model": "cnn", "model_arguments": arguments, "batch_size": 16, **changes}
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        _digits_split().save(place / "split.npz")
        return Task(TaskConfig(**config), objectives, 4, short_window(), place, n_threads=1)

    return make


def short_window(**changes: Any) -> EnergyConfig:
    # Experiment files cannot ask for less than 2 s; tests of anything but the window can.
    return EnergyConfig(**changes).model_copy(update={"window_s": 0.05})


def _digits_split() -> Split:
    rows = np.random.default_rng(0).permutation(800).astype(np.int64)
    return Split(np.sort(rows[:480]), np.sort(rows[480:600]), np.sort(rows[600:]), test_is_pool=True)


@pytest.fixture(scope="session")
def sparks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a data set of black images with at most one bright pixel, whose row is the class.

    So few pixels are bright that they normalise to more than 8: a limit of 8 on activations can be felt. There are
    640 images each to train and to validate, more than the smallest batch of the published space's evaluation.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(1600) % 4
    images = np.zeros((1600, 8, 8), dtype=np.uint8)
    is_lit = rng.random(1600) < 0.5
    images[is_lit, labels[is_lit] * 2, rng.integers(0, 8, is_lit.sum())] = 255
    path = tmp_path_factory.mktemp("sparks") / "sparks.npz"
    np.savez(path, x=images, y=labels)
    return path


@pytest.fixture(scope="session")
def sparks_split(sparks: Path) -> Split:
    return make_split(load_dataset("npz", sparks), 0, validation_fraction=0.4, test_fraction=0.2)


@pytest.fixture
def sparks_task(tmp_path: Path, sparks: Path, sparks_split: Split) -> Callable[..., Task]:
    """Returns a maker of tasks of three epochs on the sparks; network arguments are left to the configuration."""

    def make(folder: str, objectives: tuple[str, ...] = ("error",)) -> Task:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        sparks_split.save(place / "split.npz")
        config = TaskConfig(dataset="npz", path=sparks, model="cnn")
        return Task(config, objectives, 3, short_window(), place, n_threads=1)

    return make
