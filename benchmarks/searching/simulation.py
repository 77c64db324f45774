"""A search on a problem with simulated workers: a training takes no time but counts its cost."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field

from dsnn_hpo.optimizers import Optimizer
from dsnn_hpo.trial import Result, Trial, TrialState
from searching.problem import Problem

FULL_TRAINING_S = 600.0
"""What a full training of mean pace is said to last; only costs in seconds depend on it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a search may use.

    Attributes:
        budget: cost in full trainings; a search starts nothing once it has started as much.
        n_workers: how many trainings run at a time.
        continues: whether a longer training of a configuration pays for the further epochs only.
    """

    budget: float
    n_workers: int = 1
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A configuration trained to the end: the cost spent and the time passed by then, and its true losses."""

    cost: float
    time: float
    losses: tuple[float, ...]


@dataclass(slots=True)
class Outcome:
    """What came of a search.

    Attributes:
        points: configurations trained to the end, in order.
        n_trials: trainings of any length.
        cost: of all that finished.
        makespan: time until the last training ended, in full trainings of mean pace.
        busy: share of the workers' time in which they trained, until the budget was all started.
        ask_s: seconds of each proposal.
        tell_s: of each result.
    """

    points: list[Point] = field(default_factory=list)
    n_trials: int = 0
    cost: float = 0.0
    makespan: float = 0.0
    busy: float = 1.0
    ask_s: list[float] = field(default_factory=list)
    tell_s: list[float] = field(default_factory=list)


@dataclass(order=True, slots=True)
class _Job:
    ends: float
    id: int
    trial: Trial = field(compare=False)
    begins: float = field(compare=False)
    cost: float = field(compare=False)


def simulate(problem: Problem, optimizer: Optimizer, setting: Setting) -> Outcome:
    """Returns what comes of a search: an event simulation, in which proposing takes no time.

    The same problem, optimizer and setting give the same outcome but for its seconds. It ends when the budget is started and
    all has finished, or when the optimizer has nothing left to propose.
    """
    return _Simulation(problem, optimizer, setting).run()


class _Simulation:
    def __init__(self, problem: Problem, optimizer: Optimizer, setting: Setting) -> None:
        self._problem = problem
        self._optimizer = optimizer
        self._setting = setting
        self._outcome = Outcome()
        self._running: list[_Job] = []
        self._jobs: list[_Job] = []
        self._trained: dict[str, int] = {}
        self._started = self._now = 0.0

    def run(self) -> Outcome:
        """Returns the outcome."""
        ended_at = None
        while True:
            self._start()
            if ended_at is None and self._is_spent:
                ended_at = self._now
            if not self._running:
                break
            self._finish(heapq.heappop(self._running))
        self._outcome.makespan = self._now
        # A budget that all workers start at once is over when it begins: then there is no time in which to be idle.
        end = self._now if ended_at is None else ended_at
        if end > 0:
            trained = sum(max(0.0, min(job.ends, end) - job.begins) for job in self._jobs)
            self._outcome.busy = trained / (self._setting.n_workers * end)
        return self._outcome

    @property
    def _is_spent(self) -> bool:
        return self._started >= self._setting.budget - 1e-9

    def _start(self) -> None:
        while len(self._running) < self._setting.n_workers and not self._is_spent:
            began = time.perf_counter()
            trial = self._optimizer.ask()
            self._outcome.ask_s.append(time.perf_counter() - began)
            if trial is None:
                return
            trained = self._trained.get(trial.key, 0) if self._setting.continues else 0
            cost = self._problem.cost(trial.fidelity, trained)
            ends = self._now + cost * self._problem.landscape.pace(trial.config)
            job = _Job(ends, trial.id, trial, self._now, cost)
            heapq.heappush(self._running, job)
            self._jobs.append(job)
            self._started += cost

    def _finish(self, job: _Job) -> None:
        trial, problem, outcome = job.trial, self._problem, self._outcome
        self._now = job.ends
        outcome.cost += job.cost
        outcome.n_trials += 1
        self._trained[trial.key] = max(trial.fidelity, self._trained.get(trial.key, 0))
        if trial.fidelity == problem.fidelity.max_epochs:
            losses = tuple(float(loss) for loss in problem.truth(trial.config))
            outcome.points.append(Point(outcome.cost, self._now, losses))
        result = Result(
            trial,
            TrialState.COMPLETED,
            values=problem.evaluate(trial.config, trial.fidelity, trial.seed),
            seconds=(job.ends - job.begins) * FULL_TRAINING_S,
            n_epochs=round(job.cost * problem.fidelity.max_epochs),
        )
        began = time.perf_counter()
        self._optimizer.tell(result)
        outcome.tell_s.append(time.perf_counter() - began)
