"""Training the front again with further seeds when the search is over: how much of an error is luck."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from dsnn_hpo.energy import mean_and_ci95
from dsnn_hpo.experiment._attempts import Attempt, LostAttempt, Workplace
from dsnn_hpo.journal import History, Measured, now
from dsnn_hpo.trial import Provenance, Result, Trial, TrialState

POLL_S = 0.2
FIRST_ID = 10**9
"""Trainings with further seeds have ids of their own, for their logs; they are no trials of the search."""


@dataclass(slots=True)
class Retraining:
    """Trains each member of the front with ``n_seeds`` further seeds; its error is then the mean over all seeds.

    No optimizer hears of it. A training that fails leaves one seed less, and a line that says so.
    """

    workplace: Workplace
    n_seeds: int
    _troubles: list[str] = field(default_factory=list)

    def run(
        self, history: Callable[[], History], record: Callable[[Measured], None], should_stop: Callable[[], bool]
    ) -> list[str]:
        """Returns what went wrong, a line each, after recording the means; ``should_stop`` is asked now and then.

        A configuration that comes onto the front because others are found to be worse is trained again, too.
        """
        while not should_stop() and (members := to_retrain(history())):
            results = self._train([trial for member in members for trial in self._trials(member.trial)], should_stop)
            if should_stop():
                break
            for member in members:
                further = [result for result in results if result.trial.id % FIRST_ID == member.trial.id]
                record(_mean(member, further))
        return self._troubles

    def _trials(self, trial: Trial) -> Iterator[Trial]:
        for number in range(1, self.n_seeds + 1):
            yield replace(trial, id=number * FIRST_ID + trial.id, seed=trial.seed + number)

    def _train(self, trials: Sequence[Trial], should_stop: Callable[[], bool]) -> list[Result]:
        waiting = [Attempt(trial, 1, 0.0) for trial in trials]
        running: dict[Future[Result], Attempt] = {}
        results: list[Result] = []
        while (waiting or running) and not should_stop():
            while waiting and len(running) < self.workplace.executor.n_workers:
                attempt = replace(waiting.pop(0), started=time.monotonic())
                running[self.workplace.submit(attempt)] = attempt
            done, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                attempt = running.pop(future)
                match self.workplace.outcome(attempt, future):
                    case Result() as result:
                        results.append(result)
                        self._note(result)
                    case LostAttempt():
                        waiting.append(replace(attempt, number=attempt.number + 1))
                    case None:
                        pass
        return results

    def _note(self, result: Result) -> None:
        if result.state is TrialState.FAILED:
            id_, seed = result.trial.id % FIRST_ID, result.trial.seed
            self._troubles.append(f"trial {id_} trained again with seed {seed} failed: {result.error}")


def to_retrain(history: History) -> list[Result]:
    """Returns the members of the front that were not yet trained again."""
    return [m for m in history.front() if "error" not in history.measured.get(m.trial.id, _NOTHING).values]


_NOTHING = Measured(Trial(-1, {}, 0, 0), {}, {}, 0.0, 0.0)


def _mean(member: Result, further: Sequence[Result]) -> Measured:
    """Returns the mean errors of a member over its own seed and the further ones, with the interval of Student's t."""
    seeds = [member, *(result for result in further if result.state is TrialState.COMPLETED)]
    error, ci95 = mean_and_ci95([result.values["error"] for result in seeds])
    how = Provenance("validation samples, seeds of training", "measured", "inference", "", ci95, len(seeds))
    tests = [result.test_values["error"] for result in seeds if "error" in result.test_values]
    test_values = {"error": mean_and_ci95(tests)[0]} if tests else {}
    energy_j = sum(result.energy_j + result.measuring_energy_j for result in further)
    return Measured(member.trial, {"error": error}, {"error": how}, energy_j, now(), test_values)
