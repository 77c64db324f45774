"""Problems with categorical, integer, logarithmic, conditional and forbidden hyperparameters; best fronts known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    Integer,
    OrdinalHyperparameter,
)

from dsnn_hpo.pareto import hypervolume
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config
from searching.analytic import FORMULAS, Gaussian
from searching.curves import Curve, Learned, Wave, usual_range
from searching.problem import FIDELITY, Coordinates, Floats, Problem, losses_named

N_SAMPLES = 1000
KINDS = ("a", "b", "c", "d", "e")
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
GATE_OFF = 0.4
"""How far from the front a configuration stays whose gate is off."""


def mixed_space() -> ConfigurationSpace:
    """Returns a space of eight hyperparameters of all sorts, one of them conditional, two values of which exclude others."""
    space = ConfigurationSpace()
    kind, gate, count = Categorical("kind", KINDS), Categorical("gate", ("off", "on")), Integer("count", (0, 10))
    inner = Float("inner", (0.0, 1.0))
    level = OrdinalHyperparameter("level", LEVELS)
    rate, size = Float("rate", (1e-4, 1e-1), log=True), Integer("size", (4, 64), log=True)
    space.add([Float("position", (0.0, 1.0)), rate, count, kind, size, level, gate, inner])
    space.add(EqualsCondition(inner, gate, "on"))
    return space


@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """A ZDT function over ``mixed_space``.

    Attributes:
        formula: its name.
        optima: the best values of rate (logarithm), count, size (logarithm) and inner, as shares of their ranges.
        kinds: how far from the front each kind is, 0 for the best.
        levels: the same of each level.
    """

    formula: str
    optima: Floats
    kinds: Mapping[str, float]
    levels: Mapping[float, float]

    def __call__(self, config: Config) -> Floats:
        """Returns the losses of a configuration, shape (2,)."""
        rate = (np.log10(float(config["rate"])) + 4) / 3
        count = int(config["count"]) / 10
        size = np.log(int(config["size"]) / 4) / np.log(16)
        inner = float(config["inner"]) if config["gate"] == "on" else None
        far = np.maximum(self.optima, 1 - self.optima)
        places = np.asarray([rate, count, size, self.optima[3] if inner is None else inner])
        distances = np.abs(places - self.optima) / far
        if inner is None:
            distances[3] = GATE_OFF
        x = np.asarray(
            [
                float(config["position"]),
                *distances,
                self.kinds[str(config["kind"])],
                self.levels[float(config["level"])],
            ]
        )
        return FORMULAS[self.formula].losses(x)


def make_mixed(name: str, formula: str, curve: Curve, instance: int) -> Problem:
    """Returns an instance of a ZDT function over ``mixed_space``; its front is the function's own."""
    generator = np.random.default_rng([23456, instance])
    space = mixed_space()
    # Integers have their optimum on a value that there is.
    size = int(generator.integers(8, 33))
    optima = np.asarray(
        [
            generator.uniform(0.2, 0.8),
            generator.integers(2, 9) / 10,
            np.log(size / 4) / np.log(16),
            generator.uniform(0.2, 0.8),
        ]
    )
    kinds = dict(zip(generator.permutation(KINDS).tolist(), (0.0, 0.2, 0.4, 0.7, 1.0), strict=True))
    best_level = int(generator.integers(len(LEVELS)))
    levels = {level: abs(i - best_level) / (len(LEVELS) - 1) for i, level in enumerate(LEVELS)}
    # Of the worst kind, which no member of the front has.
    worst = max(kinds, key=lambda kind: kinds[kind])
    for count in (0, 10):
        space.add(
            ForbiddenAndConjunction(
                ForbiddenEqualsClause(space["kind"], worst), ForbiddenEqualsClause(space["count"], count)
            )
        )
    function = FORMULAS[formula]
    exact = Mixed(formula, optima, kinds, levels)
    landscape = _learned(exact, space, curve, generator, (True, True))
    return Problem(name, space, losses_named("f1", "f2"), landscape, np.asarray(function.reference), function.best())


def network_space() -> ConfigurationSpace:
    """Returns the space of a made-up network of shifts: how it learns, how large it is, how many bits it has."""
    space = ConfigurationSpace()
    optimizer, momentum = Categorical("optimizer", ("sgd", "adam", "rmsprop")), Float("momentum", (0.0, 0.99))
    bits, shift = Integer("bits", (2, 8)), Categorical("shift", ("Q", "PS"))
    rate, width = Float("lr", (1e-4, 1e-1), log=True), Integer("width", (4, 64), log=True)
    space.add([optimizer, rate, momentum, width, Integer("depth", (1, 4)), bits, shift])
    space.add(EqualsCondition(momentum, optimizer, "sgd"))
    space.add(ForbiddenAndConjunction(ForbiddenEqualsClause(shift, "PS"), ForbiddenEqualsClause(bits, 8)))
    return space


@dataclass(frozen=True, slots=True)
class Network:
    """Error and energy of a made-up network: what more width, depth and bits buy, if the learning rate suits them.

    Attributes:
        best_lr: of each optimizer, the logarithm (base 10) of the best learning rate at a width of 16.
        best_momentum: of sgd.
    """

    best_lr: dict[str, float]
    best_momentum: float

    def lr(self, optimizer: str, width: int) -> float:
        """Returns the logarithm of the best learning rate: the wider, the lower."""
        return self.best_lr[optimizer] - 0.25 * float(np.log2(width / 16)) / 2

    def __call__(self, config: Config) -> Floats:
        """Returns the logarithms (base 10) of error and energy, shape (2,)."""
        optimizer, width, depth, bits = (
            str(config["optimizer"]),
            int(config["width"]),
            int(config["depth"]),
            int(config["bits"]),
        )
        error = 0.02 + 0.5 * (width * depth**1.5) ** -0.7 + 0.4 * 2.0**-bits
        error += {"sgd": 0.0, "adam": 0.004, "rmsprop": 0.012}[optimizer]
        error += 0.006 if config["shift"] == "PS" else 0.0
        error += 0.08 * (np.log10(float(config["lr"])) - self.lr(optimizer, width)) ** 2
        if optimizer == "sgd":
            error += 0.06 * (float(config["momentum"]) - self.best_momentum) ** 2
        energy = width**1.6 * depth * bits * (0.85 if config["shift"] == "PS" else 1.0)
        return np.asarray([np.log10(min(0.9, error)), np.log10(energy)])

    def front(self) -> Floats:
        """Returns the losses of all networks that learn as well as they can, shape (n, 2): the front is among them."""
        rows = []
        for width in range(4, 65):
            for depth in range(1, 5):
                for bits in range(2, 9):
                    for shift in ("Q", "PS") if bits < 8 else ("Q",):
                        # The other optimizers are worse at the same energy.
                        lr = 10 ** self.lr("sgd", width)
                        rows.append(
                            self(
                                {
                                    "optimizer": "sgd",
                                    "lr": lr,
                                    "momentum": self.best_momentum,
                                    "width": width,
                                    "depth": depth,
                                    "bits": bits,
                                    "shift": shift,
                                }
                            )
                        )
        return np.asarray(rows)


NETWORK_REFERENCE = (-0.5, 4.0)


def make_network(name: str, curve: Curve, instance: int) -> Problem:
    """Returns an instance of the made-up network; each fidelity shows the energy as it is."""
    generator = np.random.default_rng([34567, instance])
    centre = {"sgd": -1.7, "adam": -2.5, "rmsprop": -2.9}
    best_lr = {key: value + float(generator.uniform(-0.2, 0.2)) for key, value in centre.items()}
    exact = Network(best_lr, float(generator.uniform(0.6, 0.95)))
    space = network_space()
    landscape = _learned(exact, space, curve, generator, (True, False))
    best = hypervolume(exact.front(), NETWORK_REFERENCE)
    return Problem(name, space, losses_named("error", "energy"), landscape, np.asarray(NETWORK_REFERENCE), best)


def _learned(
    exact: Mixed | Network,
    space: ConfigurationSpace,
    curve: Curve,
    generator: np.random.Generator,
    is_learned: tuple[bool, ...],
) -> Learned:
    space.seed(0)
    samples = np.asarray([exact(plain(c)) for c in space.sample_configuration(N_SAMPLES)])
    low, spread = usual_range(samples)
    spread = np.where(is_learned, spread, 0.0)
    waves = tuple(Wave.drawn(len(space), generator) for _ in range(len(spread) + 2))
    return Learned(exact, Coordinates(space), low, spread, curve, waves, Gaussian(0.01 * spread), FIDELITY)
