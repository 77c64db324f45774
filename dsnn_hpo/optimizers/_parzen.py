"""Proposals by Optuna's multi-objective TPE for successive halving: from the results of one rung, made anew each time."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import optuna
from ConfigSpace import ConfigurationSpace
from ConfigSpace.exceptions import ForbiddenValueError
from ConfigSpace.hyperparameters import Constant
from ConfigSpace.util import deactivate_inactive_hyperparameters
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler

from dsnn_hpo.optimizers._fresh import Fresh
from dsnn_hpo.optimizers._trials import Trials
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace
from dsnn_hpo.optimizers.optuna import parameter_of, suggest
from dsnn_hpo.search_space import plain

N_RESULTS = 10
MAX_RESULTS = 400
MAX_RETRIES = 10


class ParzenProposals:
    """Draws from TPE (Ozaki et al. 2022), given the highest rung that has ``N_RESULTS``; at random before.

    Args:
        space: of the configurations.
        vectors: the same as rows.
        n_objectives: how many.
    """

    def __init__(self, space: ConfigurationSpace, vectors: VectorSpace, n_objectives: int) -> None:
        self._space = copy.deepcopy(space)
        self._vectors = vectors
        self._n_objectives = n_objectives
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        probe = optuna.create_study().ask()
        for hyperparameter in self._space.values():
            suggest(probe, hyperparameter)
        self._distributions: dict[str, BaseDistribution] = dict(probe.distributions)

    def propose(
        self, trials: Trials, fresh: Fresh, rungs: Sequence[int], generator: np.random.Generator
    ) -> Floats | None:
        """Returns a new row, or None where none is left."""
        found = next((f for f in reversed(rungs) if len(trials.at(f)) >= N_RESULTS), None)
        if found is None:
            return fresh.one(generator)
        sampler = TPESampler(n_startup_trials=0, multivariate=True, seed=int(generator.integers(2**31)))
        study = optuna.create_study(directions=["minimize"] * self._n_objectives, sampler=sampler)
        for index, losses in list(trials.at(found).items())[-MAX_RESULTS:]:
            study.add_trial(self._past(trials.rows([index])[0], losses))
        for _ in range(MAX_RETRIES):
            row = self._drawn(study.ask())
            if row is not None and trials.is_new(row[None])[0]:
                return row
        return fresh.one(generator)

    def _past(self, row: Floats, losses: tuple[float, ...]) -> optuna.trial.FrozenTrial:
        config = self._vectors.config(row)
        defaults = {name: h.default_value for name, h in self._space.items() if not isinstance(h, Constant)}
        values = {name: config.get(name, default) for name, default in defaults.items()}
        parameters = {name: parameter_of(self._space[name], value) for name, value in values.items()}
        return optuna.create_trial(params=parameters, distributions=self._distributions, values=list(losses))

    def _drawn(self, trial: optuna.trial.Trial) -> Floats | None:
        values = {name: suggest(trial, hyperparameter) for name, hyperparameter in self._space.items()}
        try:
            return self._vectors.row(plain(deactivate_inactive_hyperparameters(values, self._space)))
        except ForbiddenValueError:
            return None
