"""Simulated searches: costs, workers, continuation, the peers, and jobs that are done once."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dsnn_hpo.trial import Trial

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "search.py"


class Scripted:
    """Proposes one configuration at given fidelities, and then nothing."""

    def __init__(self, config, fidelities, waits=False):
        self.left = list(fidelities)
        self.config = config
        self.waits = waits
        self.running = 0
        self.n = 0

    def ask(self):
        if not self.left or (self.waits and self.running):
            return None
        self.running += 1
        self.n += 1
        return Trial(self.n - 1, self.config, self.left.pop(0), seed=0)

    def tell(self, result):
        self.running -= 1
        assert result.values


@pytest.fixture
def problem(searching):
    return searching("problems").make_problem("zdt1", 0)


@pytest.fixture
def config(problem):
    return {f"x{i}": 0.5 for i in range(8)}


def test_a_longer_training_pays_for_the_difference_only_where_it_continues(searching, problem, config):
    simulation = searching("simulation")
    for continues, cost in ((False, 1 / 27 + 9 / 27 + 1), (True, 1.0)):
        optimizer = Scripted(config, [1, 9, 27])
        outcome = simulation.simulate(problem, optimizer, simulation.Setting(10.0, continues=continues))
        assert outcome.cost == pytest.approx(cost)
        assert [point.cost for point in outcome.points] == [pytest.approx(cost)]
        assert outcome.points[0].losses == pytest.approx(tuple(problem.truth(config)))


def test_a_search_starts_nothing_beyond_its_budget(searching, problem, config):
    simulation = searching("simulation")
    outcome = simulation.simulate(problem, Scripted(config, [27] * 10), simulation.Setting(3.0))
    assert outcome.n_trials == 3
    assert outcome.busy == pytest.approx(1.0)
    pace = problem.landscape.pace(config)
    assert outcome.makespan == pytest.approx(3 * pace)


def test_workers_that_wait_are_idle(searching, problem, config):
    simulation = searching("simulation")
    busy = simulation.simulate(problem, Scripted(config, [27] * 8), simulation.Setting(8.0, n_workers=2))
    waiting = simulation.simulate(problem, Scripted(config, [27] * 8, waits=True), simulation.Setting(8.0, n_workers=2))
    assert busy.busy == pytest.approx(1.0)
    assert waiting.busy == pytest.approx(0.5)
    assert waiting.makespan == pytest.approx(2 * busy.makespan)


@pytest.mark.parametrize("label", ["random", "Hyperband", "NSGA-II", "TPE"])
@pytest.mark.parametrize("n_workers", [1, 16])
def test_a_peer_searches_and_the_same_seed_gives_the_same_search(searching, label, n_workers):
    simulation, problems = searching("simulation"), searching("problems")
    entrant = searching("entrants").entrants([label])[0]

    def searched():
        problem = problems.make_problem("zdt2 mixed", 1)
        optimizer = entrant.make(problem, 1, n_workers, False)
        return simulation.simulate(problem, optimizer, simulation.Setting(6.0, n_workers))

    first, again = searched(), searched()
    assert first.points == again.points
    assert first.points
    assert first.cost >= 6.0 - 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("label", ["SMAC", "SMAC, direct", "GPSampler"])
@pytest.mark.filterwarnings("ignore")
def test_a_slow_peer_searches(searching, label):
    problem = searching("problems").make_problem("network", 1)
    optimizer = searching("entrants").entrants([label])[0].make(problem, 1, 1, False)
    simulation = searching("simulation")
    assert simulation.simulate(problem, optimizer, simulation.Setting(12.0)).points


def test_hyperband_has_the_brackets_of_the_paper(searching, problem):
    simulation = searching("simulation")
    optimizer = searching("hyperband").HyperbandOptimizer(problem, 0)
    counts = {}
    ask = optimizer.ask

    def counted():
        trial = ask()
        counts[trial.fidelity] = counts.get(trial.fidelity, 0) + 1
        return trial

    optimizer.ask = counted
    # The first bracket, 27 configurations, costs four full trainings: one a rung.
    simulation.simulate(problem, optimizer, simulation.Setting(4.0))
    assert counts == {1: 27, 3: 9, 9: 3, 27: 1}


def test_an_entrant_that_there_is_not_is_named(searching):
    entrants = searching("entrants")
    with pytest.raises(entrants.UnknownEntrantError, match="'TPE'"):
        entrants.entrants(["nobody"])
    with pytest.raises(entrants.UnknownEntrantError, match="sampler"):
        entrants.entrants([], ['mine={"name": "optuna", "sampler": "none"}'])
    with pytest.raises(entrants.UnknownEntrantError, match="has no JSON"):
        entrants.entrants([], ["mine={name}"])
    extra = entrants.entrants([], ['mine={"name": "optuna", "sampler": "tpe"}'])[0]
    assert extra.label == "mine"
    assert json.loads(extra.key) == ["dsnn_hpo", {"name": "optuna", "sampler": "tpe"}]


def test_a_line_that_was_cut_off_is_done_again_and_the_others_are_not(searching, tmp_path):
    jobs, simulation = searching("jobs"), searching("simulation")
    entrant = searching("entrants").entrants(["random"])[0]
    specs = [jobs.JobSpec("zdt1", entrant, seed, simulation.Setting(2.0)) for seed in range(2)]
    path = tmp_path / "results.jsonl"
    for spec in specs:
        jobs.append(path, jobs.search(spec))
    whole = path.read_text()
    path.write_text(whole[:-30])
    assert [record.seed for record in jobs.read_records(path)] == [0]
    jobs.append(path, jobs.search(specs[1]))
    assert [record.key for record in jobs.read_records(path)] == [spec.key for spec in specs]
    assert jobs.read_records(path)[0].points == json.loads(whole.splitlines()[0])["points"]
    packed = tmp_path / "results.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert jobs.read_records(packed) == jobs.read_records(path)


def test_a_record_keeps_what_added_to_the_hypervolume(searching):
    jobs, simulation, scores = searching("jobs"), searching("simulation"), searching("scores")
    spec = jobs.JobSpec("dtlz2", searching("entrants").entrants(["random"])[0], 0, simulation.Setting(40.0))
    record = jobs.search(spec)
    problem = searching("problems").make_problem("dtlz2", 0)
    every = simulation.simulate(problem, spec.entrant.make(problem, 0, 1, False), spec.setting).points
    assert 1 < len(record.points) < len(every) / 2
    costs = (5.0, 10.0, 20.0, 40.0)
    of_all = [problem.share([point.losses for point in every if point.cost <= cost]) for cost in costs]
    assert scores.shares(record, costs) == pytest.approx(of_all, rel=1e-4)


def test_the_shipped_results_are_read(searching):
    jobs, problems = searching("jobs"), searching("problems")
    records = jobs.read_records(SCRIPT.with_name("search_results.jsonl.gz"))
    assert {record.problem for record in records} == set(problems.REPORTING)
    assert len({record.key for record in records}) == len(records)
    assert len({record.seed for record in records}) >= 10


def test_a_search_that_takes_too_long_is_given_up(searching, monkeypatch):
    import time

    jobs = searching("jobs")
    monkeypatch.setattr(jobs, "simulate", lambda *_arguments: time.sleep(10))
    spec = jobs.JobSpec("zdt1", searching("entrants").entrants(["random"])[0], 0, searching("simulation").Setting(2.0))
    with pytest.raises(TimeoutError, match="longer than 1 s"):
        jobs.search(spec, limit_s=1)


def test_the_command_runs_reports_and_does_nothing_twice(tmp_path):
    results = tmp_path / "results.jsonl"
    command = [sys.executable, str(SCRIPT), "run", "--problems", "zdt1", "network", "--seeds", "1", "--cost", "3"]
    command += ["--entrants", "random", "Hyperband", "--processes", "1", "--results", str(results)]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "4/4" in first.stderr
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stderr == "4 searches, 4 of them known\n"
    report = [sys.executable, str(SCRIPT), "report", "--results", str(results)]
    shown = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    assert "2 problems, 2 entrants, 1 seeds" in shown


def test_a_problem_that_there_is_not_is_refused(tmp_path):
    command = [sys.executable, str(SCRIPT), "run", "--problems", "zdt9", "--results", str(tmp_path / "r.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no problem 'zdt9'" in done.stderr
