"""Learning curves laid over exact values: what a training shows before its end, biased and noisy.

What training configuration x for a share s of all epochs shows of objective j is

    y_j = f_j(x) + A_j b(s) (base + gain v_j(x)) + noise (1 + 2 b(s))

A_j is the range of f_j over random configurations (from 5 % to 95 % of them), b falls from 1 at the lowest fidelity to 0 at the full one, and v_j is
between 0 and 1: a wave over the space, or, the more the curves cross, how good the configuration is (the best ones learn
slowest, as large networks at small learning rates do).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dsnn_hpo.trial import Config, Fidelity
from searching.problem import Coordinates, Floats, generator_of

Kind = Literal["power", "exponential", "late"]

DECAY = 6.0
"""exponential: in e-folds over a full training."""
ONSETS = (0.05, 0.6)
"""late: the share of a full training after which a configuration starts to learn, from the earliest to the latest."""
STEEPNESS = 4.0
FREQUENCY = 1.5
USUAL = (0.05, 0.95)
SPEEDS = 0.5
"""Logarithm of how much slower, and faster, an epoch of a configuration can be than that of a mean one."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The shape of learning curves.

    Attributes:
        kind: b(s) falls as s**-1/2, exponentially, or, each configuration at a time of its own, as a logistic step.
        base: the part of the bias that all configurations share.
        gain: the part that depends on the configuration.
        crossing: 0 to 1, how far that part follows the configuration's own quality.
    """

    kind: Kind = "power"
    base: float = 0.15
    gain: float = 0.5
    crossing: float = 0.0

    def height(self, share: float, lowest: float, onset: float = 0.5) -> float:
        """Returns b, 1 at the lowest share of a full training and 0 at 1.

        Args:
            share: of a full training.
            lowest: the smallest share.
            onset: 0 to 1, how late the configuration starts to learn, to late ones.
        """
        first, now, last = (self._raw(s, onset) for s in (lowest, share, 1.0))
        return (now - last) / (first - last)

    def _raw(self, share: float, onset: float) -> float:
        if self.kind == "power":
            return float(share**-0.5)
        if self.kind == "exponential":
            return float(np.exp(-DECAY * share))
        begins = np.log(ONSETS[0]) + onset * (np.log(ONSETS[1]) - np.log(ONSETS[0]))
        return float(1 / (1 + np.exp(STEEPNESS * (np.log(share) - begins))))


@dataclass(frozen=True, slots=True, eq=False)
class Wave:
    """A sinusoid over the unit cube, between 0 and 1."""

    direction: Floats
    phase: float

    @classmethod
    def drawn(cls, n_dimensions: int, generator: np.random.Generator) -> Wave:
        """Returns a random one."""
        return cls(FREQUENCY * generator.standard_normal(n_dimensions), float(generator.uniform(0, 2 * np.pi)))

    def __call__(self, x: Floats) -> float:
        """Returns its height at x, shape (d,)."""
        return float(0.5 + 0.5 * np.sin(self.direction @ x + self.phase))


def usual_range(losses: Floats) -> tuple[Floats, Floats]:
    """Returns low end and width of the range in which 90 % of losses, shape (n, m), lie; shape (m,) each."""
    low, high = np.quantile(losses, USUAL, axis=0)
    return low, high - low


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A landscape whose full fidelity is exact, seen through learning curves; see the module.

    Attributes:
        exact: the losses of a configuration, shape (m,).
        coordinates: of the space.
        low: the low end of the usual range of losses, shape (m,).
        spread: the range A, shape (m,); 0 for an objective that every fidelity shows as it is.
        curve: the shape of the curves.
        waves: v of each objective, then onset and pace.
        noise: the deviation of one training from the mean, shape (m,).
        fidelity: the rungs.
    """

    exact: Callable[[Config], Floats]
    coordinates: Coordinates
    low: Floats
    spread: Floats
    curve: Curve
    waves: tuple[Wave, ...]
    noise: Callable[[Config, np.random.Generator], Floats]
    fidelity: Fidelity

    def truth(self, config: Config) -> Floats:
        """Returns the losses at full fidelity without noise, shape (m,)."""
        return self.exact(config)

    def bias(self, config: Config, epochs: int) -> Floats:
        """Returns by how much a training of so many epochs is worse than a full one, shape (m,)."""
        height = self._height(config, epochs)
        x, crossing = self.coordinates(config), self.curve.crossing
        waves = np.asarray([wave(x) for wave in self.waves[: len(self.spread)]])
        if crossing:
            scale = np.where(self.spread > 0, self.spread, 1.0)
            quality = 1 - np.clip((self.exact(config) - self.low) / scale, 0.0, 1.0)
            waves = (1 - crossing) * waves + crossing * quality
        return np.asarray(self.spread * height * (self.curve.base + self.curve.gain * waves))

    def observed(self, config: Config, epochs: int, seed: int) -> Floats:
        """Returns the losses that a training of so many epochs shows, shape (m,)."""
        noise = self.noise(config, generator_of(config, epochs, seed))
        return np.asarray(
            self.exact(config) + self.bias(config, epochs) + noise * (1 + 2 * self._height(config, epochs))
        )

    def pace(self, config: Config) -> float:
        """Returns how long an epoch of the configuration takes, about 1 on average."""
        return float(np.exp(SPEEDS * (2 * self.waves[-1](self.coordinates(config)) - 1)))

    def _height(self, config: Config, epochs: int) -> float:
        full = self.fidelity.max_epochs
        onset = self.waves[-2](self.coordinates(config))
        return self.curve.height(epochs / full, self.fidelity.rungs()[0] / full, onset)
