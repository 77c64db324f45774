"""The front trained again with further seeds, by made-up trainings."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from dsnn_hpo.energy import mean_and_ci95
from dsnn_hpo.errors import WorkerLostError
from dsnn_hpo.experiment._attempts import Workplace
from dsnn_hpo.experiment._retrain import FIRST_ID, Retraining, to_retrain
from dsnn_hpo.trial import Result, TrialState
from tests.report.synthetic import history


class Inline:
    """An executor that runs jobs where it stands; the first ``n_lost`` of them lose their worker."""

    n_workers = 2

    def __init__(self, n_lost=0):
        self.n_lost = n_lost
        self.jobs = []

    def submit(self, job):
        future = Future()
        self.jobs.append(job)
        if self.n_lost:
            self.n_lost -= 1
            future.set_exception(WorkerLostError("killed"))
        else:
            future.set_result(job.function(job.argument, lambda: False))
        return future


def a_tenth_more(trial, should_stop):
    """A training whose error depends on the seed alone."""
    errors = {"error": 0.1 + 0.01 * (trial.seed % 7)}
    return Result(trial, TrialState.COMPLETED, values=errors, test_values=errors, energy_j=5.0, measuring_energy_j=1.0)


def hardly_learning(trial, should_stop):
    return Result(trial, TrialState.COMPLETED, values={"error": 0.85 + 0.01 * (trial.seed % 7)})


def failing(trial, should_stop):
    return Result(trial, TrialState.FAILED, error="it broke")


def retrained(run, tmp_path, train, n_seeds=2, executor=None):
    executor = executor or Inline()
    retraining = Retraining(Workplace(executor, train, tmp_path, 3), n_seeds)
    state = [run]
    troubles = retraining.run(lambda: state[0], lambda event: state.append(state.pop().extended(event)), lambda: False)
    return state[0], troubles, executor


def test_errors_are_means_over_seeds_with_their_interval(tmp_path):
    run = history(72)
    first = run.front()[0]
    again, troubles, executor = retrained(run, tmp_path, a_tenth_more)
    assert troubles == []
    errors = [first.values["error"], *(0.1 + 0.01 * ((first.trial.seed + n) % 7) for n in (1, 2))]
    mean, ci95 = mean_and_ci95(errors)
    measured = again.measured[first.trial.id]
    assert measured.values == {"error": pytest.approx(mean)}
    assert measured.provenance["error"].ci95 == pytest.approx(ci95)
    assert measured.provenance["error"].n_repeats == 3
    assert measured.test_values["error"] != first.test_values["error"]
    assert measured.energy_j == pytest.approx(12.0)
    assert again.energy_j == pytest.approx(run.energy_j + 12.0 * len(again.measured))
    # Nothing of it is a trial of the search, and no two trainings share a log.
    assert again.results == run.results
    assert len({job.id for job in executor.jobs}) == len(executor.jobs)
    assert all(job.argument.id >= FIRST_ID and job.argument.seed != first.trial.seed for job in executor.jobs[:2])


def test_whoever_comes_onto_the_front_is_trained_again_too(tmp_path):
    again, _, _ = retrained(history(72), tmp_path, hardly_learning)
    assert to_retrain(again) == []
    assert {member.trial.id for member in again.front()} <= again.measured.keys()
    assert len(again.measured) > len(again.front())


def test_a_lost_worker_costs_nothing_but_time(tmp_path):
    whole, _, _ = retrained(history(72), tmp_path, a_tenth_more)
    again, troubles, _ = retrained(history(72), tmp_path, a_tenth_more, executor=Inline(n_lost=2))
    assert troubles == []
    assert {id_: m.values for id_, m in again.measured.items()} == {id_: m.values for id_, m in whole.measured.items()}


def test_a_training_that_fails_leaves_a_seed_less_and_a_line(tmp_path):
    run = history(72)
    again, troubles, _ = retrained(run, tmp_path, failing, n_seeds=1)
    assert len(troubles) == len(run.front())
    assert "failed: it broke" in troubles[0]
    member = run.front()[0]
    assert again.measured[member.trial.id].values["error"] == member.values["error"]
    assert again.measured[member.trial.id].provenance["error"].ci95 is None


def test_stopped_it_records_nothing(tmp_path):
    run = history(72)
    recorded = []
    Retraining(Workplace(Inline(), a_tenth_more, tmp_path, 3), 2).run(lambda: run, recorded.append, lambda: True)
    assert recorded == []
