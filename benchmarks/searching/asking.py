"""How long an optimizer takes to propose when it knows many trials."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dsnn_hpo.optimizers import Optimizer
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Result, Trial, TrialState
from searching.entrants import Entrant
from searching.problem import Problem
from searching.problems import make_problem

PROBLEM = "zdt1"
N_ASKS = 60
LOWEST_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds with ``n_known`` trials known: of making them known, of asking, of telling."""

    n_known: int
    known_s: float
    ask_ms: tuple[float, float, float]
    tell_max_ms: float

    def __str__(self) -> str:
        """Returns a line."""
        median, p90, highest = self.ask_ms
        return (
            f"{self.n_known} trials known (after {self.known_s:.1f} s): ask median {median:.0f} ms, p90 {p90:.0f} ms, "
            f"max {highest:.0f} ms; tell max {self.tell_max_ms:.2f} ms"
        )


def asking(entrant: Entrant, n_known: int, n_asks: int = N_ASKS) -> Times:
    """Returns the times of an entrant on a problem of 8 dimensions and 2 objectives.

    Trials are made known by recall where the optimizer can, four in five of them at the lowest fidelity; else by asking.
    """
    problem = make_problem(PROBLEM, 0)
    optimizer = entrant.make(problem, 0, 1, False)
    began = time.perf_counter()
    _make_known(optimizer, problem, n_known)
    known_s = time.perf_counter() - began
    asks, tells = [], []
    for _ in range(n_asks):
        began = time.perf_counter()
        trial = optimizer.ask()
        asks.append(1000 * (time.perf_counter() - began))
        if trial is None:
            break
        result = _result(problem, trial)
        began = time.perf_counter()
        optimizer.tell(result)
        tells.append(1000 * (time.perf_counter() - began))
    median, p90, highest = (float(q) for q in np.quantile(asks, [0.5, 0.9, 1.0]))
    return Times(n_known, known_s, (median, p90, highest), max(tells, default=0.0))


def _make_known(optimizer: Optimizer, problem: Problem, n_known: int) -> None:
    recall = getattr(optimizer, "recall", None)
    problem.space.seed(0)
    generator = np.random.default_rng(0)
    rungs = problem.fidelity.rungs()
    for i in range(n_known):
        trial: Trial | None
        if recall is None:
            trial = optimizer.ask()
        else:
            epochs = rungs[0] if generator.random() < LOWEST_SHARE else rungs[-1]
            trial = Trial(i, plain(problem.space.sample_configuration()), epochs, seed=i)
            recall(trial)
        if trial is None:
            return
        optimizer.tell(_result(problem, trial))


def _result(problem: Problem, trial: Trial) -> Result:
    values = problem.evaluate(trial.config, trial.fidelity, trial.seed)
    return Result(trial, TrialState.COMPLETED, values=values, seconds=1.0, n_epochs=trial.fidelity)
