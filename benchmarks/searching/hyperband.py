"""Hyperband with random proposals for several objectives: what fidelities alone are worth."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dsnn_hpo.optimizers._halving import best_first
from dsnn_hpo.optimizers._plan import hyperband_brackets
from dsnn_hpo.optimizers._protocol import OpenTrials
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config, Result, Trial, TrialState
from searching.problem import Floats, Problem


@dataclass(slots=True)
class _Bracket:
    """One of Hyperband's brackets under way: its rungs (n_configs, epochs), and where its configurations are."""

    rungs: Sequence[tuple[int, int]]
    level: int = 0
    waiting: list[Config] = field(default_factory=list)
    n_running: int = 0
    told: list[tuple[Config, Floats | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Handle:
    bracket: _Bracket
    config: Config


class HyperbandOptimizer:
    """Hyperband (Li et al. 2018, algorithm 1), synchronous; a new bracket opens where all open ones wait for results.

    Promotes by non-dominated sorting and, within a front, crowding, as SMAC does; proposals are random.

    Args:
        problem: to be searched.
        seed: fixes the proposals.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._space = copy.deepcopy(problem.space)
        self._space.seed(seed)
        self._open: OpenTrials[_Handle] = OpenTrials(seed)
        self._planned = hyperband_brackets(problem.fidelity)
        self._brackets: list[_Bracket] = []
        self._n_opened = 0

    def ask(self) -> Trial | None:
        """Returns the next trial; there always is one."""
        bracket = next((b for b in self._brackets if b.waiting), None) or self._opened()
        config = bracket.waiting.pop(0)
        bracket.n_running += 1
        return self._open.open(config, bracket.rungs[bracket.level][1], _Handle(bracket, config))

    def tell(self, result: Result) -> None:
        """Learns from a result; a rung whose last it is sends its best on."""
        handle = self._open.close(result.trial)
        bracket = handle.bracket
        is_success = result.state is TrialState.COMPLETED
        losses = [o.loss(result.values[o.name]) for o in self._problem.objectives] if is_success else None
        bracket.told.append((handle.config, None if losses is None else np.asarray(losses)))
        bracket.n_running -= 1
        if not bracket.waiting and not bracket.n_running:
            self._promote(bracket)

    def _promote(self, bracket: _Bracket) -> None:
        told = [(config, losses) for config, losses in bracket.told if losses is not None]
        bracket.level += 1
        bracket.told = []
        if bracket.level == len(bracket.rungs) or not told:
            self._brackets.remove(bracket)
            return
        n_promoted = bracket.rungs[bracket.level][0]
        order = best_first(np.asarray([losses for _, losses in told]), n_promoted)
        bracket.waiting = [told[i][0] for i in order]

    def _opened(self) -> _Bracket:
        rungs = self._planned[self._n_opened % len(self._planned)]
        self._n_opened += 1
        bracket, n_initial = _Bracket(rungs), rungs[0][0]
        is_first = self._problem.has_default and self._n_opened == 1
        bracket.waiting = [plain(self._space.get_default_configuration())] if is_first else []
        bracket.waiting += [plain(self._space.sample_configuration()) for _ in range(n_initial - len(bracket.waiting))]
        self._brackets.append(bracket)
        return bracket
