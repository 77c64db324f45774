"""Optuna's samplers at full fidelity, with the settings that its documentation recommends.

NSGA-II with a population of 20, as its default of 50 would make nearly all of 60 trainings random ones; TPE multivariate (recommended where hyperparameters interact), with the constant liar
where there are several workers (recommended to spread them); GPSampler for objectives with noise. Pruners, which would make use
of fidelities, do not exist for several objectives. Optuna knows nothing of forbidden configurations: they are drawn again, and
GPSampler's, which would be the same again, are changed in as few hyperparameters as it takes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState as OptunaState

from dsnn_hpo.optimizers._protocol import OpenTrials
from dsnn_hpo.optimizers.optuna import MAX_RETRIES_GP, changed, enqueue, legal, suggested, with_inactive
from dsnn_hpo.trial import Result, Trial, TrialState
from searching.problem import Problem

MAX_RETRIES = 1000


class OptunaPeer:
    """Proposes by one of Optuna's samplers; what it proposes twice is trained twice.

    Args:
        problem: to be searched.
        seed: fixes the proposals.
        settings: ``sampler``, which is "nsga2", "tpe" or "gp", and ``population_size`` of the first.
        n_workers: how many trainings run at a time.
    """

    def __init__(self, problem: Problem, seed: int, settings: Mapping[str, Any], n_workers: int) -> None:
        self._problem = problem
        self._space = copy.deepcopy(problem.space)
        self._space.seed(seed)
        self._open: OpenTrials[optuna.trial.Trial] = OpenTrials(seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            chosen = _sampler(settings, seed, n_workers)
        self._study = optuna.create_study(directions=["minimize"] * len(problem.objectives), sampler=chosen)
        self._max_retries = MAX_RETRIES_GP if settings["sampler"] == "gp" else MAX_RETRIES
        self._generator = np.random.default_rng(seed)
        if problem.has_default:
            enqueue(self._study, self._space, with_inactive(self._space, self._space.get_default_configuration()))

    def ask(self) -> Trial | None:
        """Returns the next trial, or None where no legal configuration is found."""
        for _ in range(self._max_retries):
            trial = self._study.ask()
            values = suggested(trial, self._space)
            config = legal(self._space, values)
            if config is not None:
                return self._open.open(config, self._problem.fidelity.max_epochs, trial)
            self._study.tell(trial, state=OptunaState.FAIL)
        other = changed(self._space, values, lambda _: True, self._generator)
        if other is None:
            return None
        enqueue(self._study, self._space, other)
        return self.ask()

    def tell(self, result: Result) -> None:
        """Learns from a result."""
        trial = self._open.close(result.trial)
        if result.state is TrialState.FAILED:
            self._study.tell(trial, state=OptunaState.FAIL)
        else:
            self._study.tell(trial, [o.loss(result.values[o.name]) for o in self._problem.objectives])


def _sampler(settings: Mapping[str, Any], seed: int, n_workers: int) -> BaseSampler:
    if settings["sampler"] == "nsga2":
        return NSGAIISampler(population_size=settings["population_size"], seed=seed)
    if settings["sampler"] == "tpe":
        return TPESampler(multivariate=True, constant_liar=n_workers > 1, seed=seed)
    return GPSampler(seed=seed)
