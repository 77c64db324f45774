"""SMAC 2.4 through ask and tell: Hyperband over epochs, random-forest proposals on ParEGO's scalarisation.

SMAC proposes only. The driver owns the budget, the workers and the journal, and Pareto fronts are computed elsewhere.
What is done differently from SMAC's multi-fidelity defaults, each for a defect of 2.4.1:

- ``incumbent_selection="highest_budget"``: the default dies with an AssertionError at the first promotion as soon as
  there are two objectives.
- ParEGO is passed explicitly (the default is the mean), and the forest is retrained with new weights for every
  proposal: SMAC keeps the old one until results arrive, so that a whole bracket would share one weight vector.
- The forest learns from the highest rung with ``min_trials`` results, not with one.
- A failed trial is a crash whose cost is worse than every success, clipped to "worst seen in every objective" before
  the forest sees it; a configuration that failed is never promoted.
- Costs are told relative to the first success: SMAC ignores an objective that spans less than 1e-10.
- Proposals do not depend on Python's hash seed, which differs from process to process and breaks resuming.
- A space with few configurations ends quietly instead of losing the configurations of an unfinished bracket.
- Nothing is saved, which SMAC would do three times a tell.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from ConfigSpace import Configuration, ConfigurationSpace
from smac import MultiFidelityFacade, Scenario
from smac.acquisition.maximizer import LocalAndSortedRandomSearch, LocalSearch
from smac.main.config_selector import ConfigSelector
from smac.main.exceptions import ConfigurationSpaceExhaustedException
from smac.model.random_forest import RandomForest
from smac.multi_objective import AbstractMultiObjectiveAlgorithm
from smac.multi_objective.parego import ParEGO
from smac.runhistory import StatusType, TrialInfo, TrialValue

from dsnn_hpo.optimizers._config import SmacConfig
from dsnn_hpo.optimizers._protocol import OpenTrials, identity
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Fidelity, Objective, Result, Trial, TrialState

N_TRIALS = 10**9
CRASH_COST = 1e12
MAX_REPEATS = 100
RETRIES = 100
MAX_LEAVES = 4096
# SMAC's defaults (10,000 / 10 / 10) spend 0.4 s a proposal, most of it on plateaus of a model that is piecewise constant.
N_CHALLENGERS = 1000
N_LOCAL_SEARCHES = 5
N_PLATEAU_STEPS = 3


class SmacOptimizer:
    """Proposes by SMAC: promotions of Hyperband first, then configurations of new brackets."""

    def __init__(
        self,
        config: SmacConfig,
        space: ConfigurationSpace,
        objectives: Sequence[Objective],
        fidelity: Fidelity,
        seed: int,
    ) -> None:
        self._objectives = tuple(objectives)
        self._rungs = fidelity.rungs()
        self._scales = [0.0] * len(self._objectives)
        self._open: OpenTrials[TrialInfo] = OpenTrials(seed)
        self._proposed: set[tuple[str, int]] = set()
        self._failed: set[str] = set()
        space = copy.deepcopy(space)
        self._facade = _facade(config, space, len(self._objectives), fidelity, seed)
        # SMAC's own initial design copies the space, and cannot copy all of ConfigSpace's forbidden clauses.
        # ConfigSpace hashes a configuration by its text: built from its vector the default is like all others.
        default = Configuration(space, vector=space.get_default_configuration().get_array())
        first = [default] if config.evaluate_default else []
        first += [space.sample_configuration() for _ in range(config.n_initial or _enough(space))]
        intensifier = self._facade.intensifier
        stream = _Configurations(intensifier.config_selector, space, first, self._is_proposed_everywhere)
        # Hyperband only iterates over its selector.
        intensifier.config_selector = cast(ConfigSelector, stream)

    def ask(self) -> Trial | None:
        """Returns the next trial, or None where a finite space was evaluated at every rung."""
        while True:
            try:
                info = self._facade.ask()
            except StopIteration:
                return None
            epochs = self._epochs(info.budget)
            config = plain(info.config)
            self._proposed.add((identity(config), epochs))
            if identity(config) not in self._failed:
                return self._open.open(config, epochs, info)
            self._tell_failed(info)

    def tell(self, result: Result) -> None:
        """Learns from a result; a failed trial counts as worse than every success."""
        info = self._open.close(result.trial)
        if result.state is TrialState.FAILED:
            self._failed.add(identity(result.trial.config))
            self._tell_failed(info)
            return
        costs = [o.loss(result.values[o.name]) for o in self._objectives]
        self._scales = [scale or abs(cost) for scale, cost in zip(self._scales, costs, strict=True)]
        scaled = [cost / (scale or 1.0) for cost, scale in zip(costs, self._scales, strict=True)]
        self._facade.tell(info, TrialValue(cost=_columns(scaled), time=result.seconds), save=False)

    def _is_proposed_everywhere(self, n_configurations: int) -> bool:
        return len(self._proposed) == n_configurations * len(self._rungs)

    def _tell_failed(self, info: TrialInfo) -> None:
        cost = _columns([CRASH_COST] * len(self._objectives))
        self._facade.tell(info, TrialValue(cost=cost, status=StatusType.CRASHED), save=False)

    def _epochs(self, budget: float | None) -> int:
        # SMAC's budgets are real: max / eta**k. Each lies within half an epoch of its rung.
        assert budget is not None
        return min(self._rungs, key=lambda epochs: abs(epochs - budget))


def _columns(costs: list[float]) -> list[float]:
    # SMAC normalises and bounds costs only where there are several, so a lone objective is told twice.
    return costs * 2 if len(costs) == 1 else costs


def _enough(space: ConfigurationSpace) -> int:
    return len(space) + 2


def _facade(
    config: SmacConfig, space: ConfigurationSpace, n_objectives: int, fidelity: Fidelity, seed: int
) -> MultiFidelityFacade:
    logging.getLogger("smac").setLevel(logging.ERROR)
    # SMAC writes into its folder while it is built, and with save=False never again.
    with tempfile.TemporaryDirectory(prefix="dsnn-hpo-smac-") as folder:
        scenario = Scenario(
            space,
            name="search",
            output_directory=Path(folder),
            deterministic=True,
            objectives=[f"objective_{i}" for i in range(max(2, n_objectives))],
            crash_cost=CRASH_COST,
            # SMAC takes floor(log(max / min) / log(eta)) without a tolerance: 243 / 1 would lose a rung.
            min_budget=fidelity.max_epochs / fidelity.eta ** (len(fidelity.rungs()) - 1) * (1 - 1e-6),
            max_budget=fidelity.max_epochs,
            n_trials=N_TRIALS,
            n_workers=1,
            seed=seed % 2**32,
        )
        return MultiFidelityFacade(
            scenario,
            None,
            model=_forest(scenario),
            intensifier=MultiFidelityFacade.get_intensifier(
                scenario, eta=fidelity.eta, incumbent_selection="highest_budget"
            ),
            initial_design=MultiFidelityFacade.get_initial_design(scenario, n_configs=0),
            multi_objective_algorithm=_ClippedParEGO(scenario),
            acquisition_maximizer=_maximizer(scenario),
            config_selector=ConfigSelector(
                scenario,
                retrain_after=1,
                min_trials=config.min_trials or _enough(space),
                max_new_config_tries=RETRIES,
            ),
            logging_level=False,
            overwrite=True,
        )


def _forest(scenario: Scenario) -> RandomForest:
    # The facade's forest, but for two settings: with its 2**20 leaves every tree claims 150 MB before it grows
    # (0.1 s a tree), and a pool of threads costs more than trees so small.
    return RandomForest(
        scenario.configspace,
        log_y=True,
        n_trees=10,
        ratio_features=1.0,
        min_samples_split=2,
        min_samples_leaf=1,
        max_leaf_nodes=MAX_LEAVES,
        n_jobs=1,
        seed=scenario.seed,
    )


def _maximizer(scenario: Scenario) -> LocalAndSortedRandomSearch:
    maximizer = LocalAndSortedRandomSearch(
        scenario.configspace,
        challengers=N_CHALLENGERS,
        local_search_iterations=N_LOCAL_SEARCHES,
        seed=scenario.seed,
    )
    maximizer._local_search = _OrderedLocalSearch(
        scenario.configspace, n_steps_plateau_walk=N_PLATEAU_STEPS, seed=scenario.seed
    )
    return maximizer


class _OrderedLocalSearch(LocalSearch):
    """SMAC's local search, whose starting points come from a set: in an order that Python draws anew each process."""

    def _get_init_points_from_previous_configs(
        self,
        previous_configs: list[Configuration],
        n_points: int,
        additional_start_points: list[tuple[float, Configuration]] | None,
    ) -> list[Configuration]:
        points = super()._get_init_points_from_previous_configs(previous_configs, n_points, additional_start_points)
        return sorted(points, key=lambda point: identity(plain(point)))


class _ClippedParEGO(AbstractMultiObjectiveAlgorithm):
    """ParEGO (Knowles 2006) on costs clipped to the range of the successes, so that failures are no outliers."""

    def __init__(self, scenario: Scenario) -> None:
        self._parego = ParEGO(scenario)

    @property
    def meta(self) -> dict[str, Any]:
        """Returns what SMAC notes of its components."""
        return {**self._parego.meta, "name": "clipped ParEGO"}

    def update_on_iteration_start(self) -> None:
        """Draws new weights."""
        self._parego.update_on_iteration_start()

    def __call__(self, values: list[float]) -> float:
        """Returns the augmented Chebyshev norm of normalised costs, clipped to [0, 1]."""
        return self._parego(np.clip(values, 0.0, 1.0).tolist())


class _Configurations:
    """A stream of configurations for Hyperband's brackets: new ones as long as there are any, then known ones again.

    Where SMAC would end at an exhausted space, and forget the bracket that it was filling, known configurations come
    again until ``is_done`` is told their number and agrees; Hyperband skips the rungs they were evaluated at.
    """

    def __init__(
        self,
        selector: ConfigSelector,
        space: ConfigurationSpace,
        first: list[Configuration],
        is_done: Callable[[int], bool],
    ) -> None:
        self._selector = selector
        self._space = space
        self._first = first
        self._is_done = is_done

    def __iter__(self) -> Iterator[Configuration]:
        known: dict[str, Configuration] = {}
        for stream in (self._first, self._modelled(), self._sampled()):
            n_repeats = 0
            for configuration in stream:
                name = identity(plain(configuration))
                if name not in known:
                    n_repeats = 0
                    known[name] = configuration
                    yield configuration
                elif (n_repeats := n_repeats + 1) == MAX_REPEATS:
                    break
        # In the same order each time, brackets of sizes that go into their number would meet the same ones for ever.
        generator = np.random.default_rng(0)
        names = list(known)
        while True:
            for name in generator.permutation(names).tolist():
                if self._is_done(len(known)):
                    return
                yield known[name]

    def _modelled(self) -> Iterator[Configuration]:
        proposals = iter(self._selector)
        with contextlib.suppress(ConfigurationSpaceExhaustedException):
            while True:
                # Without this SMAC keeps its forest until a result arrives, and with it ParEGO's weights.
                self._selector._previous_entries = -1
                with warnings.catch_warnings():
                    # SMAC logs the mean time of a local search's steps, also of a search without any.
                    warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
                    warnings.filterwarnings("ignore", "invalid value encountered", RuntimeWarning)
                    proposal = next(proposals)
                yield proposal

    def _sampled(self) -> Iterator[Configuration]:
        while True:
            yield self._space.sample_configuration()
