"""Measuring the front again: with an executor and measurements that tests decide, and once for real."""

from __future__ import annotations

import random
from concurrent.futures import Future
from dataclasses import replace

import pytest

from dsnn_hpo.errors import ClusterError, DsnnHpoError, EnergyError, TrialInterruptedError, WorkerLostError
from dsnn_hpo.evaluation import Figures
from dsnn_hpo.experiment._remeasure import Remeasurement, contenders, worth_measuring
from dsnn_hpo.journal import Asked, Header, History, Measured, Told
from dsnn_hpo.trial import Fidelity, Provenance, Result, Trial, TrialState

HOW = Provenance("known", "measured", "machine", "a bench", ci95=0.1, n_repeats=3)
HEADER = Header("r", "n", 0.0, {}, "", ("error", "inference_energy_j"), Fidelity(1, 9, 3), {})
# Error and energy, by trial: a front of 0, 1 and 2; 3 and 4 are near it, 5 is not.
FIGURES = {0: (0.1, 10.0), 1: (0.2, 5.0), 2: (0.3, 1.0), 3: (0.21, 5.2), 4: (0.31, 1.05), 5: (0.5, 9.0)}


class Bench:
    """An executor that measures at once, in this process, unless it is to wait."""

    n_workers = 4

    def __init__(self, n_kept=0):
        self.jobs = []
        self.kept = []
        self.n_kept = n_kept

    def submit(self, job):
        self.jobs.append(job)
        future = Future()
        if len(self.kept) < self.n_kept:
            self.kept.append(future)
            return future
        try:
            future.set_result(job.function(job.argument, lambda: False))
        except DsnnHpoError as error:
            future.set_exception(error)
        return future

    @property
    def trials(self):
        return [job.argument.id for job in self.jobs]


def result(id_, error, energy_j, fidelity=9):
    values = {"error": error, "inference_energy_j": energy_j}
    return Result(Trial(id_, {"n": id_}, fidelity, 0), TrialState.COMPLETED, values=values)


def searched(figures=FIGURES, header=HEADER):
    """Returns the history of a search that found these figures."""
    results = [result(id_, *values) for id_, values in figures.items()]
    return History(header, [event for r in results for event in (Asked(r.trial, 1.0), Told(r, 2.0))])


def known(**changes):
    """Returns a measurement that finds what the search found, but for some trials: t3=9.9."""

    def measure(trial, should_stop):
        energy_j = changes.get(f"t{trial.id}", FIGURES[trial.id][1])
        return Figures({"inference_energy_j": energy_j}, {"inference_energy_j": HOW}, 7.0)

    return measure


@pytest.fixture
def again(tmp_path):
    """Returns a function that measures again and returns the history after it and the troubles."""

    def run(measure, history=None, bench=None, should_stop=lambda: False, **options):
        held = [history or searched()]

        def record(measured):
            held[0] = held[0].extended(measured)

        options = {"seed": 0, "n_parallel": 1, "max_attempts": 3, **options}
        remeasurement = Remeasurement(bench or Bench(), measure, tmp_path, **options)
        troubles = remeasurement.run(lambda: held[0], record, should_stop)
        return held[0], troubles

    return run


def test_the_front_and_what_is_near_it_are_worth_measuring():
    assert [r.trial.id for r in worth_measuring(searched())] == [0, 1, 3, 2, 4]


def test_of_what_is_near_there_are_no_more_than_of_the_front():
    crowd = {id_: (0.2 + id_ / 1000, 5.0 + id_ / 100) for id_ in range(10, 20)}
    ids = [r.trial.id for r in worth_measuring(searched({1: (0.2, 5.0), **crowd}))]
    assert ids == [1, 10]


def test_only_the_longest_training_is_worth_measuring():
    history = searched()
    promoted = result(6, 0.01, 0.1, fidelity=3)
    history = history.extended(Asked(promoted.trial, 3.0)).extended(Told(promoted, 4.0))
    assert 6 not in [r.trial.id for r in worth_measuring(history)]


def test_before_anything_completed_nothing_is():
    assert worth_measuring(History(HEADER)) == []
    assert contenders(History(HEADER), 0) == []


def test_each_is_measured_once_in_random_order(again):
    orders = []
    for seed in range(6):
        bench = Bench()
        history, troubles = again(known(), bench=bench, seed=seed)
        assert sorted(bench.trials) == [0, 1, 2, 3, 4]
        assert history.measured.keys() == {0, 1, 2, 3, 4}
        assert troubles == []
        orders.append(tuple(bench.trials))
    # 1 in 120 orders; the same ones for the same seed.
    assert len(set(orders)) > 3
    bench = Bench()
    again(known(), bench=bench, seed=0)
    assert tuple(bench.trials) == orders[0]


def test_what_was_found_is_recorded_with_its_provenance_and_its_cost(again):
    history, _ = again(known(t1=4.5))
    measured = history.measured[1]
    assert (dict(measured.values), dict(measured.provenance), measured.energy_j) == (
        {"inference_energy_j": 4.5},
        {"inference_energy_j": HOW},
        7.0,
    )
    assert history.energy_j == 5 * 7.0
    latest = {r.trial.id: r for r in history.latest_results()}
    assert latest[1].values == {"error": 0.2, "inference_energy_j": 4.5}


def test_each_has_its_log_and_a_name_of_its_own(again, tmp_path):
    bench = Bench()
    again(known(), bench=bench)
    assert {job.id for job in bench.jobs} == {f"0000{id_}-measure-1" for id_ in range(5)}
    assert {job.log for job in bench.jobs} == {tmp_path / "logs" / f"0000{id_}.log" for id_ in range(5)}


def test_who_comes_onto_the_front_because_others_are_worse_is_measured_too(again):
    bench = Bench()
    # Without 2 and 4, which take ten times as much as the search had found, 5 is the most frugal.
    history, _ = again(known(t0=30.0, t1=15.0, t3=15.6, t2=10.0, t4=10.5), bench=bench)
    assert bench.trials[-1] == 5
    assert sorted(bench.trials) == [0, 1, 2, 3, 4, 5]
    assert 5 in [r.trial.id for r in history.front()]


def test_what_was_measured_in_an_earlier_session_is_not_measured_again(again):
    history = searched()
    first, second = history.results[0].trial, history.results[3].trial
    for trial in (first, second):
        values = {"inference_energy_j": FIGURES[trial.id][1]}
        history = history.extended(Measured(trial, values, {"inference_energy_j": HOW}, 1.0, 5.0))
    bench = Bench()
    again(known(), history, bench)
    assert sorted(bench.trials) == [1, 2, 4]


def test_a_lost_worker_s_measurement_is_tried_again(again):
    n_lost = {2: 2}

    def measure(trial, should_stop):
        if n_lost.get(trial.id, 0):
            n_lost[trial.id] -= 1
            raise WorkerLostError("the worker process died of SIGKILL")
        return known()(trial, should_stop)

    bench = Bench()
    history, troubles = again(measure, bench=bench)
    assert (sorted(bench.trials), troubles) == ([0, 1, 2, 2, 2, 3, 4], [])
    assert [job.id for job in bench.jobs if job.argument.id == 2] == [f"00002-measure-{n}" for n in (1, 2, 3)]
    assert history.measured.keys() == {0, 1, 2, 3, 4}


def test_after_so_many_attempts_it_is_a_trouble(again):
    def measure(trial, should_stop):
        if trial.id == 2:
            raise WorkerLostError("the worker process died of SIGKILL")
        return known()(trial, should_stop)

    bench = Bench()
    history, troubles = again(measure, bench=bench, max_attempts=2)
    assert bench.trials.count(2) == 2
    assert troubles == ["trial 2 could not be measured again: the worker process died of SIGKILL"]
    assert history.measured.keys() == {0, 1, 3, 4}


def test_what_cannot_be_measured_is_a_trouble_at_once_and_others_go_on(again):
    def measure(trial, should_stop):
        if trial.id in (0, 3):
            raise EnergyError("the counter vanished")
        return known()(trial, should_stop)

    bench = Bench()
    history, troubles = again(measure, bench=bench)
    assert sorted(bench.trials) == [0, 1, 2, 3, 4]
    assert sorted(troubles) == [f"trial {id_} could not be measured again: the counter vanished" for id_ in (0, 3)]
    assert history.measured.keys() == {1, 2, 4}


def test_a_cluster_that_refuses_everything_ends_it(again):
    def measure(trial, should_stop):
        raise ClusterError("no such partition")

    with pytest.raises(ClusterError, match="no such partition"):
        again(measure)


def test_who_stops_records_nothing_and_what_is_left_is_resumed(again):
    bench = Bench(n_kept=1)
    polls = iter([False, False, True])
    history, troubles = again(known(), bench=bench, should_stop=lambda: next(polls))
    assert (history.measured, troubles) == ({}, [])
    assert len(bench.jobs) == 1
    later = Bench()
    again(known(), history, later)
    assert sorted(later.trials) == [0, 1, 2, 3, 4]


def test_a_measurement_that_was_told_to_stop_is_no_trouble(again):
    n_asked = []

    def measure(trial, should_stop):
        n_asked.append(trial.id)
        if len(n_asked) == 1:
            raise TrialInterruptedError("its node is needed")
        return known()(trial, should_stop)

    history, troubles = again(measure)
    assert (len(n_asked), troubles) == (6, [])
    assert history.measured.keys() == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("n_parallel", [1, 3])
def test_no_more_are_measured_at_once_than_may_be(again, n_parallel):
    bench = Bench(n_kept=99)
    polls = iter([False] * 4 + [True])
    again(known(), bench=bench, should_stop=lambda: next(polls), n_parallel=n_parallel)
    assert len(bench.jobs) == n_parallel


def test_the_front_is_not_looked_for_while_others_measure(again, monkeypatch):
    n_looked = []

    def counting(history, seed):
        n_looked.append(1)
        return contenders(history, seed)

    monkeypatch.setattr("dsnn_hpo.experiment._remeasure.contenders", counting)
    polls = iter([False] * 6 + [True])
    again(known(), bench=Bench(n_kept=1), should_stop=lambda: next(polls))
    assert len(n_looked) == 1


@pytest.mark.parametrize("objectives", [("error",), ("error", "model_size_bytes"), ("error", "hardware_energy_uj")])
def test_where_no_objective_is_measured_nothing_happens(again, objectives):
    header = replace(HEADER, objectives=objectives)
    results = [
        replace(result(i, *values), values={"error": values[0], **dict.fromkeys(objectives[1:], values[1])})
        for i, values in FIGURES.items()
    ]
    history = History(header, [event for r in results for event in (Asked(r.trial, 1.0), Told(r, 2.0))])
    bench = Bench()
    after, troubles = again(known(), history, bench)
    assert (bench.jobs, troubles) == ([], [])
    assert after == history


def test_many_random_searches_end_with_all_of_the_front_measured(again):
    for seed in range(20):
        rng = random.Random(seed)
        figures = {i: (rng.random(), rng.random()) for i in range(25)}
        truth = {i: energy_j * rng.uniform(0.7, 1.4) for i, (_, energy_j) in figures.items()}

        def measure(trial, should_stop, truth=truth):
            return Figures({"inference_energy_j": truth[trial.id]}, {"inference_energy_j": HOW}, 1.0)

        bench = Bench()
        history, _ = again(measure, searched(figures), bench, n_parallel=2, seed=seed)
        assert {r.trial.id for r in history.front()} <= history.measured.keys()
        assert len(bench.trials) == len(set(bench.trials))
