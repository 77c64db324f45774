"""ZDT and DTLZ with learning curves: problems whose best front is known exactly.

Zitzler, Deb and Thiele 2000 (ZDT); Deb, Thiele, Laumanns and Zitzler 2005 (DTLZ). The formulas are those of pymoo, which a
test compares where it is installed. ZDT4 is narrowed to a fifth of its range, 5 local fronts a coordinate in place of 21:
at the cost of 60 trainings nobody leaves the outer ones.

In a *displaced* problem each coordinate that leads to the front has its best value at a random place inside of its range.
The originals have it at the end or in the middle of the range, which clipping, or proposing the middle, finds by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from ConfigSpace import ConfigurationSpace, Float

from dsnn_hpo.pareto import hypervolume
from dsnn_hpo.trial import Config, Fidelity
from searching.curves import Curve, Learned, Wave, usual_range
from searching.problem import FIDELITY, Coordinates, Floats, Problem, losses_named

N_DIMENSIONS = 8
NOISE = 0.01
"""Of the range of an objective."""
N_SAMPLES = 2000
N_GRID = 4001
ZDT4_RANGE = 1.0
INSIDE = (0.2, 0.8)


def zdt1(x: Floats) -> Floats:
    """Returns two losses: a convex front (Zitzler et al. 2000, eq. 7)."""
    g = 1 + 9 * x[1:].mean()
    return np.asarray([x[0], g * (1 - np.sqrt(x[0] / g))])


def zdt2(x: Floats) -> Floats:
    """Returns two losses: a concave front (eq. 8)."""
    g = 1 + 9 * x[1:].mean()
    return np.asarray([x[0], g * (1 - (x[0] / g) ** 2)])


def zdt3(x: Floats) -> Floats:
    """Returns two losses: a front of five pieces (eq. 9)."""
    g = 1 + 9 * x[1:].mean()
    return np.asarray([x[0], g * (1 - np.sqrt(x[0] / g) - x[0] / g * np.sin(10 * np.pi * x[0]))])


def zdt4(x: Floats) -> Floats:
    """Returns two losses: ZDT1's front behind many local ones (eq. 10), on a narrower range."""
    z = ZDT4_RANGE * (2 * x[1:] - 1)
    g = 1 + 10 * len(z) + (z**2 - 10 * np.cos(4 * np.pi * z)).sum()
    return np.asarray([x[0], g * (1 - np.sqrt(x[0] / g))])


def dtlz2(x: Floats, n_objectives: int) -> Floats:
    """Returns the losses: a front that is part of a sphere (Deb et al. 2005, eq. 9)."""
    position, distance = x[: n_objectives - 1], x[n_objectives - 1 :]
    losses = np.full(n_objectives, 1 + ((distance - 0.5) ** 2).sum())
    for j in range(n_objectives):
        losses[j] *= np.cos(position[: n_objectives - 1 - j] * np.pi / 2).prod()
        if j:
            losses[j] *= np.sin(position[n_objectives - 1 - j] * np.pi / 2)
    return losses


def dtlz7(x: Floats, n_objectives: int) -> Floats:
    """Returns the losses: a front of 2**(m - 1) pieces (eq. 14)."""
    position, distance = x[: n_objectives - 1], x[n_objectives - 1 :]
    g = 1 + 9 * distance.mean()
    h = n_objectives - (position / (1 + g) * (1 + np.sin(3 * np.pi * position))).sum()
    return np.asarray([*position, (1 + g) * h])


def _on_a_curve(formula: Callable[[Floats], Floats], optimum: float, reference: tuple[float, ...]) -> float:
    """Returns the best hypervolume of two objectives, from a dense sample of the front (error below 1e-3)."""
    rest = np.full(N_DIMENSIONS - 1, optimum)
    front = np.asarray([formula(np.concatenate([[u], rest])) for u in np.linspace(0, 1, N_GRID)])
    return hypervolume(front, reference)


def _of_dtlz2(reference: tuple[float, ...]) -> float:
    """Returns the best hypervolume: the box less the part of the ball of radius 1 in it."""
    ball = {2: np.pi / 4, 3: np.pi / 6}[len(reference)]
    return float(np.prod(reference) - ball)


def _of_dtlz7(reference: tuple[float, ...]) -> float:
    """Returns the best hypervolume, where g is 1, by the midpoint rule over all but the last objective.

    There the last loss is ``2 m - sum_j h(x_j)`` with ``h(x) = x (1 + sin 3 pi x)``, so that the best with x_j <= a_j uses the
    running maximum of h.
    """
    m = len(reference)
    width = reference[0] / N_GRID
    a = (np.arange(N_GRID) + 0.5) * width
    x = np.minimum(a, 1.0)
    highest = np.maximum.accumulate(x * (1 + np.sin(3 * np.pi * x)))
    if m == 2:
        return float(width * np.clip(reference[1] - 4 + highest, 0, None).sum())
    return float(width**2 * sum(np.clip(reference[2] - 6 + highest[i] + highest, 0, None).sum() for i in range(N_GRID)))


@dataclass(frozen=True, slots=True)
class Formula:
    """A test function over the unit cube.

    Attributes:
        losses: at a point, shape (d,) to shape (m,).
        optimum: the value on the front of each coordinate that leads to it.
        reference: the worst losses still of interest.
        best: returns the hypervolume of the front.
    """

    losses: Callable[[Floats], Floats]
    optimum: float
    reference: tuple[float, ...]
    best: Callable[[], float]


def _zdt(losses: Callable[[Floats], Floats], reference: tuple[float, float], optimum: float = 0.0) -> Formula:
    return Formula(losses, optimum, reference, partial(_on_a_curve, losses, optimum, reference))


def _dtlz2(n_objectives: int) -> Formula:
    reference = (1.5,) * n_objectives
    return Formula(partial(dtlz2, n_objectives=n_objectives), 0.5, reference, partial(_of_dtlz2, reference))


def _dtlz7(reference: tuple[float, ...]) -> Formula:
    return Formula(partial(dtlz7, n_objectives=len(reference)), 0.0, reference, partial(_of_dtlz7, reference))


FORMULAS = {
    "zdt1": _zdt(zdt1, (1.1, 2.0)),
    "zdt2": _zdt(zdt2, (1.1, 2.0)),
    "zdt3": _zdt(zdt3, (1.1, 2.0)),
    "zdt4": _zdt(zdt4, (1.1, 50.0), optimum=0.5),
    "dtlz2": _dtlz2(2),
    "dtlz2_3": _dtlz2(3),
    "dtlz7": _dtlz7((1.1, 8.0)),
    "dtlz7_3": _dtlz7((1.1, 1.1, 12.0)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A formula over a space of floats, its optima displaced or not.

    Attributes:
        formula: over the unit cube.
        optima: where the coordinates that lead to the front have their best value, shape (d - m + 1,); None: unchanged.
    """

    formula: Formula
    optima: Floats | None

    def __call__(self, config: Config) -> Floats:
        """Returns the losses of a configuration, shape (m,)."""
        x = np.asarray([config[f"x{i}"] for i in range(N_DIMENSIONS)], dtype=np.float64)
        if self.optima is not None:
            n_position = len(self.formula.reference) - 1
            x[n_position:] = displaced(x[n_position:], self.optima, self.formula.optimum)
        return self.formula.losses(x)


def displaced(x: Floats, optima: Floats, optimum: float) -> Floats:
    """Returns the formula's coordinates of x, such that ``optima`` become ``optimum``; the farther end of x reaches 1.

    Where the optimum is 0, both sides of the new one lead away from it.
    """
    far = np.maximum(optima, 1 - optima)
    if optimum == 0.0:
        return np.asarray(np.abs(x - optima) / far)
    return np.asarray(optimum + (1 - optimum) * (x - optima) / far)


def make_analytic(
    name: str, formula: str, curve: Curve, instance: int, is_displaced: bool = True, fidelity: Fidelity = FIDELITY
) -> Problem:
    """Returns an instance of a test function with learning curves; instances differ in the curves and the displacement."""
    generator = np.random.default_rng([12345, instance])
    function = FORMULAS[formula]
    m = len(function.reference)
    space = ConfigurationSpace(space=[Float(f"x{i}", (0.0, 1.0)) for i in range(N_DIMENSIONS)])
    waves = tuple(Wave.drawn(N_DIMENSIONS, generator) for _ in range(m + 2))
    exact = Placed(function, generator.uniform(*INSIDE, N_DIMENSIONS - m + 1) if is_displaced else None)
    # The same for all instances: of the formula.
    samples = np.asarray([function.losses(x) for x in np.random.default_rng(0).random((N_SAMPLES, N_DIMENSIONS))])
    low, spread = usual_range(samples)
    landscape = Learned(exact, Coordinates(space), low, spread, curve, waves, Gaussian(NOISE * spread), fidelity)
    objectives = losses_named(*(f"f{j + 1}" for j in range(m)))
    return Problem(
        name, space, objectives, landscape, np.asarray(function.reference), function.best(), fidelity=fidelity
    )


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """Noise that is normal, with a standard deviation for each objective."""

    deviations: Floats

    def __call__(self, config: Config, generator: np.random.Generator) -> Floats:  # noqa: ARG002  (other noise depends on it)
        """Returns one deviation, shape (m,)."""
        return np.asarray(self.deviations * generator.standard_normal(len(self.deviations)))
