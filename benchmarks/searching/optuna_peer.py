"""Optuna's samplers at full fidelity, with the settings that its documentation recommends.

NSGA-II with a population of 20, as its default of 50 would make nearly all of 60 trainings random ones; TPE multivariate (recommended where hyperparameters interact), with the constant liar
where there are several workers (recommended to spread them); GPSampler for objectives with noise. Pruners, which would make use
of fidelities, do not exist for several objectives.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from ConfigSpace.exceptions import ForbiddenValueError
from ConfigSpace.hyperparameters import Constant
from ConfigSpace.util import deactivate_inactive_hyperparameters
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState as OptunaState

from dsnn_hpo.optimizers._protocol import OpenTrials
from dsnn_hpo.optimizers.optuna import parameter_of, suggest
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config, Result, Trial, TrialState
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
        self._open: OpenTrials[optuna.trial.Trial] = OpenTrials(seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            chosen = _sampler(settings, seed, n_workers)
        self._study = optuna.create_study(directions=["minimize"] * len(problem.objectives), sampler=chosen)
        if problem.has_default:
            defaults = {name: h.default_value for name, h in self._space.items()}
            defaults.update(self._space.get_default_configuration())
            free = {name: h for name, h in self._space.items() if not isinstance(h, Constant)}
            self._study.enqueue_trial({name: parameter_of(h, defaults[name]) for name, h in free.items()})

    def ask(self) -> Trial | None:
        """Returns the next trial, or None where every proposal is forbidden."""
        for _ in range(MAX_RETRIES):
            trial = self._study.ask()
            config = self._config(trial)
            if config is not None:
                return self._open.open(config, self._problem.fidelity.max_epochs, trial)
            self._study.tell(trial, state=OptunaState.FAIL)
        return None

    def tell(self, result: Result) -> None:
        """Learns from a result."""
        trial = self._open.close(result.trial)
        if result.state is TrialState.FAILED:
            self._study.tell(trial, state=OptunaState.FAIL)
        else:
            self._study.tell(trial, [o.loss(result.values[o.name]) for o in self._problem.objectives])

    def _config(self, trial: optuna.trial.Trial) -> Config | None:
        """Returns the configuration of a proposal, without what a condition switches off; None where it is forbidden."""
        values = {name: suggest(trial, h) for name, h in self._space.items()}
        try:
            return plain(deactivate_inactive_hyperparameters(values, self._space))
        except ForbiddenValueError:
            return None


def _sampler(settings: Mapping[str, Any], seed: int, n_workers: int) -> BaseSampler:
    if settings["sampler"] == "nsga2":
        return NSGAIISampler(population_size=settings["population_size"], seed=seed)
    if settings["sampler"] == "tpe":
        return TPESampler(multivariate=True, constant_liar=n_workers > 1, seed=seed)
    return GPSampler(seed=seed)
