"""Measuring the front again when the search is over: which configurations, in which order, and what becomes of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsnn_hpo import pareto
from dsnn_hpo.errors import ClusterError, DsnnHpoError, TrialInterruptedError, WorkerLostError
from dsnn_hpo.evaluation import MEASURED_FIGURES, Figures
from dsnn_hpo.execution import Executor, Job, ShouldStop
from dsnn_hpo.experiment._attempts import log_path
from dsnn_hpo.journal import History, Measured, now
from dsnn_hpo.trial import Result, Trial

POLL_S = 0.2
NEAR = 0.1
"""A configuration is near the front if a tenth less of what is measured would put it there."""
MAX_NEAR = 1
"""Near ones that are measured again, for each member of the front."""

MeasureAgain = Callable[[Trial, ShouldStop], Figures]


@dataclass(slots=True)
class Remeasurement:
    """Measures the members of a front and those near it again, in random order, until all of the front is measured.

    Args:
        executor: runs the measurements.
        measure: the measurement of one trial, picklable.
        folder: the run folder, where each trial has its log.
        seed: of the order.
        n_parallel: measurements at the same time: 1 on one machine.
        max_attempts: a measurement whose worker was lost so many times is given up.
    """

    executor: Executor
    measure: MeasureAgain
    folder: Path
    seed: int
    n_parallel: int
    max_attempts: int
    _n_lost: dict[int, int] = field(default_factory=dict)
    _troubles: dict[int, str] = field(default_factory=dict)

    def run(
        self, history: Callable[[], History], record: Callable[[Measured], None], should_stop: ShouldStop
    ) -> list[str]:
        """Returns what could not be measured, a line each, after recording what could.

        Args:
            history: gives the run as it stands.
            record: takes note of a measurement.
            should_stop: asked now and then; what runs then is given up.

        Raises:
            ClusterError: no measurement can be made.
        """
        running: dict[Future[Figures], Trial] = {}
        has_news = True
        while not should_stop():
            if has_news:
                # Only then: what the driver works meanwhile, others measure as a busy machine.
                left = [
                    trial
                    for trial in contenders(history(), self.seed)
                    if trial.id not in self._troubles and trial not in running.values()
                ]
                for trial in left[: self.n_parallel - len(running)]:
                    running[self._submit(trial)] = trial
            if not running:
                break
            done, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            has_news = bool(done)
            for future in done:
                trial = running.pop(future)
                if (fresh := self._figures(trial, future)) is not None:
                    record(Measured(trial, fresh.values, fresh.provenance, fresh.spent_j, now()))
        return list(self._troubles.values())

    def _figures(self, trial: Trial, future: Future[Figures]) -> Figures | None:
        """Returns what a measurement gave, None if it gave nothing: to be tried again, unless it is among the troubles."""
        try:
            return future.result()
        except ClusterError:
            raise
        except TrialInterruptedError:
            return None
        except WorkerLostError as error:
            self._n_lost[trial.id] = self._n_lost.get(trial.id, 0) + 1
            if self._n_lost[trial.id] < self.max_attempts:
                return None
            trouble: DsnnHpoError = error
        except DsnnHpoError as error:
            trouble = error
        self._troubles[trial.id] = f"trial {trial.id} could not be measured again: {trouble}"
        return None

    def _submit(self, trial: Trial) -> Future[Figures]:
        number = self._n_lost.get(trial.id, 0) + 1
        job = Job(f"{trial.id:05d}-measure-{number}", self.measure, trial, self.folder / log_path(trial))
        return self.executor.submit(job)


def contenders(history: History, seed: int) -> list[Trial]:
    """Returns the trials that are to be measured again and were not yet, in random order; none if nothing is measured.

    Those near the front are few and fixed by the search; a configuration that comes onto the front because others are
    found to be worse is added.
    """
    if not MEASURED_FIGURES & set(history.header.objectives):
        return []
    wanted = {result.trial.id: result.trial for result in (*worth_measuring(history), *history.front())}
    known = {id_ for id_, measured in history.measured.items() if MEASURED_FIGURES & measured.values.keys()}
    open_ = [trial for id_, trial in sorted(wanted.items()) if id_ not in known]
    random.Random(seed).shuffle(open_)
    return open_


def worth_measuring(history: History) -> list[Result]:
    """Returns the front, and some of what is near it, by the search's own figures; in order of the first objective."""
    objectives = history.objectives
    results = pareto.latest(history.results, history.front_fidelity)
    if not results:
        return []
    losses = pareto.losses_of(results, objectives)
    is_measured = np.array([objective.name in MEASURED_FIGURES for objective in objectives])
    ranks = pareto.ranks(losses)
    near = np.flatnonzero(pareto.near_front(losses, NEAR * np.abs(losses) * is_measured) & (ranks > 0))
    nearest = sorted(near, key=lambda i: (ranks[i], results[i].trial.id))[: MAX_NEAR * int((ranks == 0).sum())]
    chosen = [*np.flatnonzero(ranks == 0), *nearest]
    return [results[i] for i in sorted(chosen, key=lambda i: tuple(losses[i]))]
