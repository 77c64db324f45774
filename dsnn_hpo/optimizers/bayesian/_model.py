"""The surrogate: a process for each output, on losses of unit scale, with what is in flight believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import VectorSpace
from dsnn_hpo.optimizers.bayesian import _gp
from dsnn_hpo.pareto import non_dominated

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

MAX_ROWS = 320
SQUASH_FROM = 1.5
MAX_WEIGHT = 8.0


@dataclass(frozen=True, slots=True)
class Scale:
    """How an output's losses become figures of about unit scale, the bad tail squashed.

    ``z = (loss - centre) / width``, and ``SQUASH_FROM + log(1 + z - SQUASH_FROM)`` beyond that: a configuration that is
    worse than most may be as bad as it likes without stretching the model.
    """

    centre: float
    width: float

    @classmethod
    def of(cls, losses: Floats, bias: Floats) -> Scale:
        """Returns the scale of losses, shape (n,): their median, and half the distance of the 16 % and 84 % quantiles.

        The results of a fidelity count as 8 at most, all together: many short trainings, which may differ little or lie
        far off, do not set the scale of the long ones.
        """
        _, level, counts = np.unique(bias, return_inverse=True, return_counts=True)
        order = np.argsort(losses)
        shares = np.cumsum(np.minimum(1.0, MAX_WEIGHT / counts)[level][order])
        places = np.searchsorted(shares / shares[-1], [0.16, 0.5, 0.84])
        low, centre, high = losses[order][places]
        spread = float(high - low) / 2
        widest = float(np.abs(losses - centre).max())
        # What differs in its last digits only is constant.
        if widest <= 1e-12 * abs(float(centre)):
            return cls(float(centre), abs(float(centre)) or 1.0)
        return cls(float(centre), spread if spread > 1e-6 * widest else widest)

    def apply(self, losses: Floats) -> Floats:
        """Returns the scaled losses."""
        z = (losses - self.centre) / self.width
        return np.where(z > SQUASH_FROM, SQUASH_FROM + np.log1p(np.maximum(z - SQUASH_FROM, 0.0)), z)


def bias_of(fidelity: npt.ArrayLike, lowest: int, full: int) -> Floats:
    """Returns b(s) = (s**-0.5 - 1) / (lowest**-0.5 - 1) of fidelities in epochs, s being their share of ``full``."""
    share = np.asarray(fidelity, dtype=np.float64) / full
    span = (lowest / full) ** -0.5 - 1.0
    return (share**-0.5 - 1.0) / span if span > 0 else np.zeros_like(share)


def chosen_rows(losses: Floats, bias: Floats, limit: int, seed: int) -> Index:
    """Returns at most ``limit`` rows to learn from, ascending: full fidelity, the fronts of each fidelity, a random rest."""
    n = len(losses)
    if n <= limit:
        return np.arange(n)
    generator = np.random.default_rng([seed, n])
    order: list[int] = []
    for level in np.unique(bias):
        at = np.flatnonzero(bias == level)
        layer = at[non_dominated(losses[at])]
        order.extend(generator.permutation(layer)[: limit // 4].tolist())
    full = np.flatnonzero(bias == 0)
    order.extend(generator.permutation(full)[: max(0, limit * 2 // 3 - len(order))].tolist())
    order.extend(generator.permutation(n).tolist())
    return np.sort(np.fromiter(list(dict.fromkeys(order))[:limit], dtype=np.intp))


@dataclass(frozen=True, slots=True)
class Table:
    """Results as a model sees them: features (n, d), bias (n,), losses and their known variances (n, m).

    ``doubt`` (n,) is how far they may differ from those of this run, see ``Data``.
    """

    features: Floats
    bias: Floats
    losses: Floats
    variances: Floats
    doubt: Floats

    def rows(self, index: Index) -> Table:
        """Returns some of it."""
        of = self.features, self.bias, self.losses, self.variances, self.doubt
        return Table(*(array[index] for array in of))

    def joined(self, other: Table | None) -> Table:
        """Returns the rows of both."""
        if other is None:
            return self
        ours = self.features, self.bias, self.losses, self.variances, self.doubt
        theirs = other.features, other.bias, other.losses, other.variances, other.doubt
        return Table(*(np.concatenate(both) for both in zip(ours, theirs, strict=True)))

    def data(self, j: int, scale: Scale) -> _gp.Data:
        """Returns what a process of output ``j`` learns from."""
        noise = np.minimum((np.sqrt(self.variances[:, j]) / scale.width) ** 2, 10.0)
        return _gp.Data(self.features, self.bias, scale.apply(self.losses[:, j]), noise, self.doubt)


def table_of(trials: Trials, space: VectorSpace, lowest: int, full: int, n: int | None = None) -> Table:
    """Returns the first ``n`` completed trials, or all."""
    outcomes = trials.outcomes[:n]
    return Table(
        space.features(trials.rows([o.index for o in outcomes])),
        bias_of([o.fidelity for o in outcomes], lowest, full),
        np.asarray([o.losses for o in outcomes], dtype=np.float64),
        np.asarray([o.variances for o in outcomes], dtype=np.float64),
        np.zeros(len(outcomes)),
    )


class Model:
    """Predictions of all outputs.

    Args:
        table: what was seen.
        groups: of the features.
        fitted: hyperparameters and scale of each output.
        pending: features (k, d) and bias (k,) of trials in flight; they are believed to come out as predicted.
    """

    def __init__(
        self,
        table: Table,
        groups: Index,
        fitted: Sequence[tuple[_gp.Hyperparameters, Scale]],
        pending: tuple[Floats, Floats] | None = None,
    ) -> None:
        self.scales = [scale for _, scale in fitted]
        self.processes: list[_gp.Process] = []
        for j, (parameters, scale) in enumerate(fitted):
            data = table.data(j, scale)
            process = _gp.Process(data, groups, parameters)
            if pending is not None and len(pending[0]):
                means, _ = process.predict(*pending)
                data = _gp.Data(
                    np.concatenate([data.features, pending[0]]),
                    np.concatenate([data.bias, pending[1]]),
                    np.concatenate([data.values, means]),
                    np.concatenate([data.noise, np.zeros(len(means))]),
                    np.concatenate([data.doubt, np.zeros(len(means))]),
                )
                process = _gp.Process(data, groups, parameters)
            self.processes.append(process)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Returns means and variances at full fidelity, each of shape (n, m), in the outputs' scales."""
        both = [process.predict(features) for process in self.processes]
        return np.stack([mean for mean, _ in both], axis=1), np.stack([variance for _, variance in both], axis=1)
