"""What a problem of the comparison is: a space, objectives, fidelities, values with noise, and the best that there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import CategoricalHyperparameter

from dsnn_hpo.pareto import hypervolume
from dsnn_hpo.trial import Config, Fidelity, Objective, config_key

Floats = npt.NDArray[np.float64]

FIDELITY = Fidelity(min_epochs=1, max_epochs=27, eta=3)
"""Rungs of 1/27, 1/9, 1/3 and 1 of a full training, as in the design study."""


class Landscape(Protocol):
    """What configurations are worth."""

    def truth(self, config: Config) -> Floats:
        """Returns the losses at full fidelity without noise, shape (m,)."""
        ...

    def observed(self, config: Config, epochs: int, seed: int) -> Floats:
        """Returns the losses that a training of so many epochs shows, shape (m,); the same for the same arguments."""
        ...

    def pace(self, config: Config) -> float:
        """Returns how long an epoch of the configuration takes, about 1 on average."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A problem, one instance of it.

    Attributes:
        name: unique among problems; instances share it.
        space: of the configurations.
        objectives: all to be minimised.
        landscape: what configurations are worth.
        reference: the worst losses still of interest, shape (m,).
        best: the hypervolume of the best front that there is, or that is known.
        best_is: whether ``best`` is a fact, or a lower bound by long search.
        fidelity: the rungs; a training of ``max_epochs`` costs 1.
        has_default: whether the space's default configuration was chosen by someone; else it is any point.
    """

    name: str
    space: ConfigurationSpace
    objectives: tuple[Objective, ...]
    landscape: Landscape
    reference: Floats
    best: float
    best_is: Literal["exact", "best known"] = "exact"
    fidelity: Fidelity = FIDELITY
    has_default: bool = False

    def evaluate(self, config: Config, epochs: int, seed: int) -> dict[str, float]:
        """Returns the values that a training shows, by objective."""
        losses = self.landscape.observed(config, epochs, seed)
        return {o.name: float(loss) for o, loss in zip(self.objectives, losses, strict=True)}

    def truth(self, config: Config) -> Floats:
        """Returns the losses at full fidelity without noise, shape (m,)."""
        return self.landscape.truth(config)

    def share(self, losses: npt.ArrayLike) -> float:
        """Returns the hypervolume of some losses, shape (n, m), as a share of the best."""
        return hypervolume(losses, self.reference) / self.best

    def cost(self, epochs: int, trained: int = 0) -> float:
        """Returns the cost of a training, in full trainings, of a configuration that has ``trained`` epochs behind it.

        An epoch at least: what is not trained at all is measured again.
        """
        return max(1, epochs - trained) / self.fidelity.max_epochs


def losses_named(*names: str) -> tuple[Objective, ...]:
    """Returns objectives to be minimised."""
    return tuple(Objective(name, "minimize", "1", name) for name in names)


def generator_of(config: Config, epochs: int, seed: int) -> np.random.Generator:
    """Returns the generator of a training's noise: a function of what is trained, not of when."""
    return np.random.default_rng([int(config_key(config, seed), 16), epochs])


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """Configurations of a space as vectors in the unit cube; what is switched off lies in the middle."""

    space: ConfigurationSpace

    def __call__(self, config: Config) -> Floats:
        """Returns the vector of a configuration, shape (d,), in the order of the space."""
        return np.asarray(
            [_unit(h, config[name]) if name in config else 0.5 for name, h in self.space.items()], dtype=np.float64
        )


def _unit(hyperparameter: object, value: object) -> float:
    position = float(hyperparameter.to_vector(value))  # type: ignore[attr-defined]
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return position / max(1, len(hyperparameter.choices) - 1)
    return position
