"""A table of our own search space: trainings on the digits, recorded by `benchmarks/record_table.py` and shipped.

The search space is not a grid, so that what lies between the recorded configurations is interpolated: extremely randomised
trees (Geurts et al. 2006) for the learning curve and the other objective. Trees suit the random forest of SMAC best, which
makes this problem harder for the Gaussian processes that ours and Optuna's GP sampler use, not easier.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ConfigSpace import ConfigurationSpace
from sklearn.ensemble import ExtraTreesRegressor

from dsnn_hpo.pareto import hypervolume
from dsnn_hpo.search_space import ModelFacts, find_space, load_search_space, plain
from dsnn_hpo.trial import Config, Fidelity
from searching.problem import Coordinates, Floats, Problem, generator_of, losses_named

Other = Literal["model_size_bytes", "hardware_energy_uj"]

SHIPPED = Path(__file__).parents[1] / "search_digits.jsonl.gz"
MIN_ROWS = 20
N_TREES = 30
N_SEARCHED = 20000
N_VALIDATION = 360
"""Images in the validation split of the digits: the noise of an error rate."""
REFERENCE_QUANTILE = 0.75


class RecordingMissingError(Exception):
    """There is no recorded table; the message says how to record one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration of a recorded table.

    Attributes:
        config: the configuration.
        errors: validation error after each epoch; empty where the training failed.
        model_size_bytes: of the packed network.
        hardware_energy_uj: modelled energy of an inference.
        epoch_s: seconds an epoch, on the machine that recorded.
    """

    config: Config
    errors: tuple[float, ...]
    model_size_bytes: float = 0.0
    hardware_energy_uj: float = 0.0
    epoch_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Returns the row as JSON-serialisable values, errors to five digits."""
        return {
            "config": dict(self.config),
            "errors": [round(error, 5) for error in self.errors],
            "model_size_bytes": self.model_size_bytes,
            "hardware_energy_uj": float(f"{self.hardware_energy_uj:.6g}"),
            "epoch_s": round(self.epoch_s, 4),
        }


def read_rows(path: Path) -> list[Row]:
    """Returns the rows of a recorded table, whole ones: what an interrupted recording left unfinished is passed over."""
    rows = []
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        for line in stream:
            try:
                data = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows.append(Row(**{**data, "errors": tuple(data["errors"])}))
    return rows


def digits_space() -> ConfigurationSpace:
    """Returns the shipped space for the small network on the digits, as an experiment has it, without loading torch."""
    facts = ModelFacts(
        "cnn", {"width": 16, "depth": 2}, lambda arguments: int(str(arguments.get("depth", 2))), lambda _: 2
    )
    return load_search_space(find_space("dsnn", Path.cwd()), facts, seed=0)


@dataclass(frozen=True, slots=True, eq=False)
class Interpolated:
    """A landscape between recorded configurations.

    Attributes:
        coordinates: of the space.
        trees: from coordinates to the errors after each epoch, the logarithm of the other objective and that of the pace.
        n_epochs: of a full training.
    """

    coordinates: Coordinates
    trees: ExtraTreesRegressor
    n_epochs: int

    @classmethod
    def of(cls, rows: Sequence[Row], space: ConfigurationSpace, other: Other) -> Interpolated:
        """Returns the landscape of the rows that did not fail."""
        coordinates = Coordinates(space)
        features = np.asarray([coordinates(row.config) for row in rows])
        others = np.log([getattr(row, other) for row in rows])
        pace = np.log([row.epoch_s for row in rows])
        targets = np.column_stack([[row.errors for row in rows], others, pace - pace.mean()])
        # Trees split by the sum over targets: each counts alike, the curve as much as the other objective.
        n_epochs = len(rows[0].errors)
        scale = np.concatenate([np.full(n_epochs, n_epochs**0.5), [1.0, 3.0]]) * np.maximum(targets.std(axis=0), 1e-9)
        trees = ExtraTreesRegressor(N_TREES, min_samples_leaf=2, random_state=0, n_jobs=1)
        trees.fit(features, targets / scale)
        trees.scale_ = scale
        return cls(coordinates, trees, n_epochs)

    def many(self, configs: Sequence[Config]) -> Floats:
        """Returns errors after each epoch, other objective and pace (logarithms) of configurations, shape (n, epochs + 2)."""
        features = np.asarray([self.coordinates(config) for config in configs])
        return np.asarray(self.trees.predict(features) * self.trees.scale_, dtype=np.float64)

    def truth(self, config: Config) -> Floats:
        """Returns error and logarithm of the other objective at full fidelity, shape (2,)."""
        return self.many([config])[0, [self.n_epochs - 1, self.n_epochs]]

    def observed(self, config: Config, epochs: int, seed: int) -> Floats:
        """Returns the same after so many epochs; the error has the noise of a share of the validation images."""
        row = self.many([config])[0]
        error = float(np.clip(row[epochs - 1], 0.0, 1.0))
        noise = generator_of(config, epochs, seed).standard_normal() * np.sqrt(error * (1 - error) / N_VALIDATION)
        return np.asarray([np.clip(error + noise, 0.0, 1.0), row[self.n_epochs]])

    def pace(self, config: Config) -> float:
        """Returns how long an epoch takes, over the mean."""
        return float(np.exp(self.many([config])[0, -1]))


def make_recorded(name: str, other: Other, path: Path = SHIPPED) -> Problem:
    """Returns the problem of a recorded table; its best front is the best of 20,000 random configurations and the recorded.

    Raises:
        RecordingMissingError: there is none, or it has too few rows.
    """
    rows = [row for row in read_rows(path) if row.errors] if path.exists() else []
    if len(rows) < MIN_ROWS:
        raise RecordingMissingError(
            f"{name}: {path.name} has {len(rows)} trained configurations, at least {MIN_ROWS} are needed; record them: "
            "python benchmarks/record_table.py"
        )
    space = digits_space()
    landscape = Interpolated.of(rows, space, other)
    space.seed(0)
    configs = [row.config for row in rows] + [plain(c) for c in space.sample_configuration(N_SEARCHED)]
    losses = landscape.many(configs)[:, [landscape.n_epochs - 1, landscape.n_epochs]]
    reference = np.asarray([np.quantile(losses[:, 0], REFERENCE_QUANTILE), losses[:, 1].max()])
    return Problem(
        name,
        space,
        losses_named("error", f"log_{other}"),
        landscape,
        reference,
        hypervolume(losses, reference),
        best_is="best known",
        fidelity=Fidelity(1, landscape.n_epochs, 3),
        has_default=True,
    )
