"""SMAC 2.4.1 as its documentation has it: the multi-fidelity facade with ParEGO, through its own ask and tell.

Only what it cannot do without is changed: with the default ``incumbent_selection`` it dies at the first promotion of several
objectives; and with the default ``min_trials`` its forest learns from a single training as soon as one has reached the highest
rung.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from pathlib import Path

from smac import MultiFidelityFacade, Scenario
from smac.main.config_selector import ConfigSelector
from smac.multi_objective.parego import ParEGO
from smac.runhistory import StatusType, TrialInfo, TrialValue

from dsnn_hpo.optimizers._protocol import OpenTrials
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Result, Trial, TrialState
from searching.problem import Problem

N_TRIALS = 10**9


class SmacPeer:
    """Proposes by SMAC's own facade.

    Args:
        problem: to be searched.
        seed: fixes the proposals.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._rungs = problem.fidelity.rungs()
        self._open: OpenTrials[TrialInfo] = OpenTrials(seed)
        self._folder = tempfile.TemporaryDirectory(prefix="bench-search-smac-")
        self._facade = _facade(problem, seed, Path(self._folder.name))

    def ask(self) -> Trial | None:
        """Returns the next trial, or None where the space is exhausted."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                info = self._facade.ask()
            except StopIteration:
                return None
        # SMAC's budgets are real: max / eta**k. Each lies within half an epoch of its rung.
        epochs = min(self._rungs, key=lambda rung: abs(rung - (info.budget or 0)))
        return self._open.open(plain(info.config), epochs, info)

    def tell(self, result: Result) -> None:
        """Learns from a result."""
        info = self._open.close(result.trial)
        if result.state is TrialState.FAILED:
            value = TrialValue(cost=[float("inf")] * len(self._problem.objectives), status=StatusType.CRASHED)
        else:
            costs = [o.loss(result.values[o.name]) for o in self._problem.objectives]
            value = TrialValue(cost=costs, time=result.seconds)
        # Saving three files each time is what its documentation says to expect, but not what is compared here.
        self._facade.tell(info, value, save=False)


def _facade(problem: Problem, seed: int, folder: Path) -> MultiFidelityFacade:
    logging.getLogger("smac").setLevel(logging.ERROR)
    space = copy.deepcopy(problem.space)
    scenario = Scenario(
        space,
        output_directory=folder,
        deterministic=True,
        objectives=[o.name for o in problem.objectives],
        min_budget=problem.fidelity.rungs()[0] * (1 - 1e-6),
        max_budget=problem.fidelity.max_epochs,
        n_trials=N_TRIALS,
        seed=seed % 2**32,
    )
    facade = MultiFidelityFacade
    return facade(
        scenario,
        None,
        intensifier=facade.get_intensifier(scenario, eta=problem.fidelity.eta, incumbent_selection="highest_budget"),
        initial_design=facade.get_initial_design(
            scenario,
            n_configs=len(space) + 2,
            additional_configs=[space.get_default_configuration()] if problem.has_default else [],
        ),
        multi_objective_algorithm=ParEGO(scenario),
        config_selector=ConfigSelector(scenario, retrain_after=1, min_trials=len(space) + 2),
        logging_level=False,
        overwrite=True,
    )
