"""Results of earlier runs, as rows that the model doubts, and doubts the more the more it learns by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsnn_hpo.optimizers._halving import best_first
from dsnn_hpo.optimizers._protocol import identity
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace
from dsnn_hpo.optimizers.bayesian._model import Table, bias_of
from dsnn_hpo.trial import Objective, Result, TrialState

MAX_ROWS = 64
DOUBT = 0.2
"""How far earlier results may differ from what this run would find, over how configurations differ, while this run has none."""
FADING = 16
"""So many own results double it."""
N_SHARED = 3
"""So many configurations that both have trained alike tell by how much the two differ."""


class Earlier:
    """What earlier runs have found of configurations of this space.

    Of each configuration its longest training counts; of many, the best and an even sample of the rest.

    Args:
        results: theirs; those that failed, or lack an output, are left out.
        space: of the configurations.
        outputs: what losses are taken of; the first ``n_objectives`` are objectives.
        rungs: of this run. Trainings outside its range count as its shortest or longest.
        n_objectives: how many.

    Attributes:
        best: rows, best first, by non-dominated sorting and crowding of the longest trainings.
    """

    def __init__(
        self,
        results: Sequence[Result],
        space: VectorSpace,
        outputs: Sequence[Objective],
        rungs: Sequence[int],
        n_objectives: int,
    ) -> None:
        longest: dict[str, Result] = {}
        for result in results:
            complete = result.state is TrialState.COMPLETED and all(o.name in result.values for o in outputs)
            name = identity(result.trial.config)
            if complete and (name not in longest or longest[name].trial.fidelity <= result.trial.fidelity):
                longest[name] = result
        found = list(longest.values())
        losses = np.asarray([[o.loss(r.values[o.name]) for o in outputs] for r in found]).reshape(-1, len(outputs))
        fidelities = np.asarray([min(max(r.trial.fidelity, rungs[0]), rungs[-1]) for r in found], dtype=np.int64)
        order: list[int] = []
        for fidelity in sorted(set(fidelities.tolist()), reverse=True):
            at = np.flatnonzero(fidelities == fidelity)
            order += at[best_first(losses[at, :n_objectives], len(at))].tolist()
        n_best = len(order) if len(order) <= MAX_ROWS else MAX_ROWS // 2
        kept = order[:n_best]
        if n_best < len(order):
            kept += [order[i] for i in np.linspace(n_best, len(order) - 1, MAX_ROWS - n_best).astype(int)]
        rows = [space.row(found[i].trial.config) for i in kept]
        self.best: Floats = np.stack(rows) if rows else np.empty((0, space.n_columns))
        self._names = {identity(found[i].trial.config): place for place, i in enumerate(kept)}
        self._fidelities = fidelities[kept]
        self._losses = losses[kept]
        self._features = space.features(self.best)
        self._bias = bias_of(self._fidelities, rungs[0], rungs[-1])

    def __len__(self) -> int:
        return len(self.best)

    def table(self, trials: Trials, n: int | None = None) -> Table | None:
        """Returns the rows as the model is to see them, given the run's first ``n`` results (all); None without any.

        Where both runs have trained the same configurations for as long, the earlier losses are moved by the median of
        the differences: tasks that differ often do so by a constant.
        """
        if not len(self):
            return None
        outcomes = trials.outcomes[:n]
        differences: dict[int, Floats] = {}
        for outcome in outcomes:
            place = self._places(trials, outcome.index)
            if place is not None and self._fidelities[place] == outcome.fidelity:
                differences[place] = np.asarray(outcome.losses) - self._losses[place]
        offset = np.median(list(differences.values()), axis=0) if len(differences) >= N_SHARED else 0.0
        doubt = np.full(len(self), DOUBT * (1.0 + len(outcomes) / FADING))
        losses = self._losses + offset
        return Table(self._features, self._bias, losses, np.zeros_like(losses), doubt)

    def _places(self, trials: Trials, index: int) -> int | None:
        return self._names.get(trials.name_of(index))
