"""Optuna through ask and tell: NSGA-II, multi-objective TPE or Gaussian processes at full fidelity.

Optuna sees one flat space in which every hyperparameter is always there; what a condition switches off is dropped from
the proposal afterwards. Proposals that are forbidden or known already are told as failed and drawn again; where that does
not help, as with Gaussian processes, which propose the same again, they are changed in as few hyperparameters as it takes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
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
from dsnn_hpo.trial import Config, Fidelity, Objective, Result, Scalar, Trial, TrialState

MAX_RETRIES = 20
MAX_RETRIES_GP = 2
CHANGES_OF_EACH_SIZE = 10
MAX_SAMPLES = 1000
"""After this many known configurations in a row a finite space counts as exhausted."""


Values = Mapping[str, object]
"""A value of each hyperparameter, switched off or not."""


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
        self._max_retries = MAX_RETRIES_GP if config.sampler == "gp" else MAX_RETRIES
        self._generator = np.random.default_rng(seed)
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
            enqueue(self._study, self._space, with_inactive(self._space, self._space.get_default_configuration()))

    def ask(self) -> Trial | None:
        """Returns the next trial, or None where every configuration of a finite space was proposed."""
        if self._is_exhausted:
            return None
        for _ in range(self._max_retries):
            trial, values = self._suggest()
            if trial is not None:
                return trial
        other = changed(self._space, values, self._is_new, self._generator) or self._any_new()
        if other is None:
            self._is_exhausted = True
            return None
        enqueue(self._study, self._space, other)
        return self._suggest()[0]

    def tell(self, result: Result) -> None:
        """Learns from a result; a failed trial is left out of the model."""
        trial = self._open.close(result.trial)
        if result.state is TrialState.FAILED:
            self._study.tell(trial, state=OptunaState.FAIL)
        else:
            self._study.tell(trial, [o.loss(result.values[o.name]) for o in self._objectives])

    def _suggest(self) -> tuple[Trial | None, Values]:
        """Returns the sampler's next proposal, None where it is forbidden or known, and its values."""
        trial = self._study.ask()
        values = suggested(trial, self._space)
        config = legal(self._space, values)
        if config is None or not self._is_new(config):
            self._study.tell(trial, state=OptunaState.FAIL)
            return None, values
        self._known.add(identity(config))
        return self._open.open(config, self._max_epochs, trial), values

    def _is_new(self, config: Config) -> bool:
        return identity(config) not in self._known

    def _any_new(self) -> Values | None:
        for _ in range(MAX_SAMPLES):
            configuration = self._space.sample_configuration()
            if self._is_new(plain(configuration)):
                return with_inactive(self._space, configuration)
        return None


def _sampler(config: OptunaConfig, seed: int) -> BaseSampler:
    if config.sampler == "nsga2":
        return NSGAIISampler(population_size=config.population_size, seed=seed % 2**32)
    if config.sampler == "gp":
        return GPSampler(n_startup_trials=config.n_initial, seed=seed % 2**32)
    return TPESampler(n_startup_trials=config.n_initial, multivariate=True, seed=seed % 2**32)


def suggested(trial: optuna.trial.Trial, space: ConfigurationSpace) -> Values:
    """Returns what the sampler suggests."""
    return {name: suggest(trial, hyperparameter) for name, hyperparameter in space.items()}


def legal(space: ConfigurationSpace, values: Values) -> Config | None:
    """Returns the configuration of these values, without what a condition switches off; None where it is forbidden."""
    try:
        return plain(deactivate_inactive_hyperparameters(dict(values), space))
    except ForbiddenValueError:
        return None


def with_inactive(space: ConfigurationSpace, configuration: Configuration) -> Values:
    """Returns the values of a configuration, and defaults of what is switched off."""
    return {name: hyperparameter.default_value for name, hyperparameter in space.items()} | dict(configuration)


def changed(
    space: ConfigurationSpace, values: Values, is_new: Callable[[Config], bool], generator: np.random.Generator
) -> Values | None:
    """Returns legal, new values that differ from the given ones in few hyperparameters, or None if none are found."""
    free = [name for name, hyperparameter in space.items() if not isinstance(hyperparameter, Constant)]
    for n_changed in range(1, len(free) + 1):
        for _ in range(CHANGES_OF_EACH_SIZE):
            drawn = with_inactive(space, space.sample_configuration())
            chosen = generator.choice(free, n_changed, replace=False).tolist()
            candidate = {**values, **{name: drawn[name] for name in chosen}}
            config = legal(space, candidate)
            if config is not None and is_new(config):
                return candidate
    return None


def enqueue(study: optuna.Study, space: ConfigurationSpace, values: Values) -> None:
    """Has a study propose these values next."""
    free = {name: h for name, h in space.items() if not isinstance(h, Constant)}
    study.enqueue_trial({name: parameter_of(h, values[name]) for name, h in free.items()})


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
