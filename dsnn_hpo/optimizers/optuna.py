"""Optuna through ask and tell: NSGA-II, multi-objective TPE or Gaussian processes at full fidelity.

Optuna sees one flat space in which every hyperparameter is always there; what a condition switches off is dropped from
the proposal afterwards. Proposals that are forbidden or known already are told as failed and drawn again.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from ConfigSpace import Configuration, ConfigurationSpace
from ConfigSpace.exceptions import ForbiddenValueError
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Constant,
    FloatHyperparameter,
    Hyperparameter,
    IntegerHyperparameter,
    OrdinalHyperparameter,
)
from ConfigSpace.util import deactivate_inactive_hyperparameters
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState as OptunaState

from dsnn_hpo.errors import SearchSpaceError
from dsnn_hpo.optimizers._config import OptunaConfig
from dsnn_hpo.optimizers._generations import GenerationStorage
from dsnn_hpo.optimizers._protocol import OpenTrials, identity
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Fidelity, Objective, Result, Scalar, Trial, TrialState

MAX_RETRIES = 20
MAX_SAMPLES = 1000
"""After this many known configurations in a row a finite space counts as exhausted."""


class OptunaOptimizer:
    """Proposes by one of Optuna's samplers, no configuration twice."""

    def __init__(
        self,
        config: OptunaConfig,
        space: ConfigurationSpace,
        objectives: Sequence[Objective],
        fidelity: Fidelity,
        seed: int,
    ) -> None:
        self._space = copy.deepcopy(space)
        self._space.seed(seed)
        self._objectives = tuple(objectives)
        self._max_epochs = fidelity.max_epochs
        self._known: set[str] = set()
        self._is_exhausted = False
        self._open: OpenTrials[optuna.trial.Trial] = OpenTrials(seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(
            storage=GenerationStorage(config.population_size) if config.sampler == "nsga2" else None,
            directions=["minimize"] * len(self._objectives),
            sampler=_sampler(config, seed),
        )
        if config.evaluate_default:
            self._enqueue(self._space.get_default_configuration())

    def ask(self) -> Trial | None:
        """Returns the next trial, or None where every configuration of a finite space was proposed."""
        if self._is_exhausted:
            return None
        for _ in range(MAX_RETRIES):
            trial = self._propose()
            if trial is not None:
                return trial
        return self._propose_any()

    def tell(self, result: Result) -> None:
        """Learns from a result; a failed trial is left out of the model."""
        trial = self._open.close(result.trial)
        if result.state is TrialState.FAILED:
            self._study.tell(trial, state=OptunaState.FAIL)
        else:
            self._study.tell(trial, [o.loss(result.values[o.name]) for o in self._objectives])

    def _propose(self) -> Trial | None:
        """Returns the sampler's next proposal, or None where it is forbidden or known."""
        trial = self._study.ask()
        values = {name: suggest(trial, hyperparameter) for name, hyperparameter in self._space.items()}
        try:
            config = plain(deactivate_inactive_hyperparameters(values, self._space))
        except ForbiddenValueError:
            config = None
        if config is None or identity(config) in self._known:
            self._study.tell(trial, state=OptunaState.FAIL)
            return None
        self._known.add(identity(config))
        return self._open.open(config, self._max_epochs, trial)

    def _propose_any(self) -> Trial | None:
        for _ in range(MAX_SAMPLES):
            configuration = self._space.sample_configuration()
            if identity(plain(configuration)) not in self._known:
                self._enqueue(configuration)
                return self._propose()
        self._is_exhausted = True
        return None

    def _enqueue(self, configuration: Configuration) -> None:
        defaults = {name: hyperparameter.default_value for name, hyperparameter in self._space.items()}
        values = {**defaults, **dict(configuration)}
        parameters = {
            name: parameter_of(hyperparameter, values[name])
            for name, hyperparameter in self._space.items()
            if not isinstance(hyperparameter, Constant)
        }
        self._study.enqueue_trial(parameters)


def _sampler(config: OptunaConfig, seed: int) -> BaseSampler:
    if config.sampler == "nsga2":
        return NSGAIISampler(population_size=config.population_size, seed=seed % 2**32)
    if config.sampler == "gp":
        return GPSampler(n_startup_trials=config.n_initial, seed=seed % 2**32)
    return TPESampler(n_startup_trials=config.n_initial, multivariate=True, seed=seed % 2**32)


def suggest(trial: optuna.trial.Trial, hyperparameter: Hyperparameter[Any, Any]) -> object:
    """Returns Optuna's value of a hyperparameter; an ordinal one is its rank to Optuna, a constant none of its.

    Optuna knows no priors: normal and beta ranges are uniform to it.
    """
    name = hyperparameter.name
    match hyperparameter:
        case FloatHyperparameter(lower=lower, upper=upper, log=log):
            return trial.suggest_float(name, float(lower), float(upper), log=log)
        case IntegerHyperparameter(lower=lower, upper=upper, log=log):
            return trial.suggest_int(name, int(lower), int(upper), log=log)
        case CategoricalHyperparameter(choices=choices):
            return trial.suggest_categorical(name, [_plain(choice) for choice in choices])
        case OrdinalHyperparameter(sequence=sequence):
            return sequence[trial.suggest_int(name, 0, len(sequence) - 1)]
        case Constant(value=value):
            return value
    raise SearchSpaceError(f"hyperparameter {name}: Optuna cannot search a {type(hyperparameter).__name__}")


def parameter_of(hyperparameter: Hyperparameter[Any, Any], value: object) -> Scalar:
    """Returns what ``suggest`` must draw for a hyperparameter to have this value."""
    if isinstance(hyperparameter, OrdinalHyperparameter):
        return list(hyperparameter.sequence).index(value)
    return _plain(value)


def _plain(value: object) -> Scalar:
    scalar = value.item() if isinstance(value, np.generic) else value
    assert isinstance(scalar, (bool, int, float, str))
    return scalar
