"""The front of a real run measured again at its end, and once more as if elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from dsnn_hpo import kernels
from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.errors import InputError
from dsnn_hpo.evaluation import Figures, measure_again
from dsnn_hpo.experiment import ExperimentConfig, _measure, measure_run, read_run, resume, start
from dsnn_hpo.experiment._folder import RunFolder
from dsnn_hpo.journal import Asked, Header, Journal, Mark, Measured, Told
from dsnn_hpo.trial import Fidelity, Provenance, Result, Trial, TrialState

EXPERIMENT = """\
name: sure
task: {dataset: digits, model: mlp, n_train: 200, n_validation: 100}
search_space: dsnn
objectives: [error, inference_energy_j]
fidelity: {min_epochs: 1, max_epochs: 1}
optimizer: random
budget: {trials: 2}
energy: {final_repeats: 3}
"""
HOW = Provenance("known", "measured", "machine", "another bench", ci95=0.1, n_repeats=3)
needs_kernels = pytest.mark.skipif(kernels.isa() is None, reason="the kernels are not built")


def short(energy: EnergyConfig) -> EnergyConfig:
    """Returns it with windows that experiment files cannot ask for, and that a run's journal will not hold."""
    windows = {"window_s": 0.05, "final_window_s": 0.1}
    return EnergyConfig.model_construct(set(energy.model_fields_set), **{**energy.model_dump(), **windows})


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Returns the outcome of a run that ended with measuring its front again."""
    folder = tmp_path_factory.mktemp("sure")
    (folder / "sure.yaml").write_text(EXPERIMENT)
    config = ExperimentConfig.from_file(folder / "sure.yaml")
    return start(config.model_copy(update={"energy": short(config.energy)}), folder / "run")


@needs_kernels
def test_a_run_ends_with_its_front_measured_again(outcome):
    history = outcome.history
    ids = {member.trial.id for member in history.front()}
    assert ids
    assert ids <= history.measured.keys()
    marks = [event.name for event in history.events if isinstance(event, Mark)]
    assert marks == ["started", "measuring", "finished"]
    assert history.events[-1].reason == ""
    how = history.measured[min(ids)].provenance["inference_energy_j"]
    assert how.ci95 > 0
    assert how.n_repeats == 3
    assert history.energy_j > sum(r.energy_j + r.measuring_energy_j for r in history.results)


@needs_kernels
def test_its_report_has_the_intervals(outcome):
    front = json.loads((outcome.folder.report / "front.json").read_text())
    for member in front["members"]:
        assert member["provenance"]["inference_energy_j"]["ci95"] > 0
        assert 0.0 < member["p_optimal"] <= 1.0
    assert front["footprint"]["measuring_j"] > 0


@needs_kernels
def test_each_measurement_is_in_the_log_of_its_trial(outcome):
    for id_ in outcome.history.measured:
        log = (outcome.folder.path / "logs" / f"{id_:05d}.log").read_text()
        assert f"== {id_:05d}-measure-1 " in log


@needs_kernels
def test_a_finished_run_is_not_measured_again_when_it_is_resumed(outcome):
    assert resume(outcome.folder.path).history == outcome.history


@needs_kernels
def test_the_journal_and_the_experiment_are_read_again(outcome):
    assert read_run(outcome.folder.path) == outcome.history
    assert outcome.history.header.experiment["energy"] == {"final_repeats": 3}


@needs_kernels
def test_it_is_measured_elsewhere_without_training(outcome, monkeypatch):
    def quickly(trial, task, **options):
        return measure_again(trial, replace(task, energy=short(task.energy)), **options)

    monkeypatch.setattr(_measure, "measure_again", quickly)
    before = outcome.folder.journal.read_bytes()
    lines = []
    found = measure_run(outcome.folder.path, country="FRA", show=lines.append)
    assert outcome.folder.journal.read_bytes() == before
    assert len(lines) == len(found.members)
    assert sorted(int(line.split()[2]) for line in lines) == sorted(member.trial for member in found.members)
    for member in found.members:
        assert member.there["inference_energy_j"] > 0
        assert member.here["inference_energy_j"] > 0
        assert member.provenance["inference_energy_j"].ci95 > 0
    written = json.loads(found.file.read_text())
    assert written["run_id"] == outcome.history.header.run_id
    assert [member["trial"] for member in written["members"]] == [member.trial for member in found.members]


# What it compares, by measurements that tests decide.

FIGURES = {0: (0.1, 10.0), 1: (0.2, 5.0), 2: (0.3, 1.0)}


@pytest.fixture
def run_folder(tmp_path):
    """Returns a maker of run folders whose trials 0, 1 and 2 are the front."""

    def make(objectives=("error", "inference_energy_j"), energy="{}", figures=FIGURES, again=()):
        file = tmp_path / "sure.yaml"
        text = EXPERIMENT.replace("[error, inference_energy_j]", f"[{', '.join(objectives)}]")
        file.write_text(text.replace("{final_repeats: 3}", energy))
        config = ExperimentConfig.from_file(file)
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir()
        folder.space.write_text(config.space_path.read_text())
        header = Header(
            *("r", "sure", 0.0, config.as_written(), "", tuple(objectives), Fidelity(1, 1, 3), {}, str(tmp_path))
        )
        with Journal.create(folder.journal, header) as journal:
            for id_, figures_of in figures.items():
                trial = Trial(id_, {"n": id_}, 1, 0)
                values = dict(zip(objectives, figures_of, strict=True))
                journal.append(Asked(trial, 1.0))
                journal.append(Told(Result(trial, TrialState.COMPLETED, values=values), 2.0))
            for id_, value in again:
                trial = Trial(id_, {"n": id_}, 1, 0)
                journal.append(Measured(trial, {objectives[1]: value}, {objectives[1]: HOW}, 1.0, 3.0))
        return folder.path

    return make


@pytest.fixture
def here(monkeypatch):
    """Returns a function that sets what this machine finds, and the list of the tasks that were measured."""
    tasks = []

    def finds(**figures):
        def measure_again(trial, task, device="cpu"):
            tasks.append(task)
            name = "inference_energy_j" if device == "cpu" else "emulation_energy_j"
            return Figures({name: figures[f"t{trial.id}"]}, {name: HOW}, 1.0)

        monkeypatch.setattr(_measure, "measure_again", measure_again)
        return tasks

    return finds


@needs_kernels
def test_ranks_and_places_on_the_front_are_compared(run_folder, here):
    here(t0=2.0, t1=5.0, t2=1.5)
    found = measure_run(run_folder())
    ranks = {member.trial: member.ranks["inference_energy_j"] for member in found.members}
    assert ranks == {0: (3, 2), 1: (2, 3), 2: (1, 1)}
    places = {member.trial: member.on_front for member in found.members}
    assert places == {0: (True, True), 1: (True, False), 2: (True, True)}
    assert sorted(member.trial for member in found.changed) == [0, 1]


@needs_kernels
def test_where_all_stay_nothing_has_changed(run_folder, here):
    here(t0=20.0, t1=10.0, t2=2.0)
    assert measure_run(run_folder()).changed == ()


@needs_kernels
def test_the_run_s_own_figures_are_the_best_that_it_has(run_folder, here):
    here(t0=11.0, t1=6.0, t2=1.5)
    found = measure_run(run_folder(again=[(0, 11.0), (1, 5.5), (2, 1.2)]))
    assert {member.trial: member.there["inference_energy_j"] for member in found.members} == {0: 11.0, 1: 5.5, 2: 1.2}


@needs_kernels
def test_who_came_onto_the_front_after_the_search_is_measured_too(run_folder, here):
    here(t0=10.0, t1=5.0, t2=9.5, t3=8.0)
    figures = {**FIGURES, 3: (0.4, 8.0)}
    folder = run_folder(figures=figures, again=[(1, 10.5), (2, 9.5)])
    assert [member.trial for member in measure_run(folder).members] == [0, 1, 2, 3]


@needs_kernels
def test_a_run_that_measured_nothing_after_its_search_is_measured_here(run_folder, here):
    tasks = here(t0=1.0, t1=1.0, t2=1.0)
    measure_run(run_folder(energy="{final_repeats: 0}"))
    assert {task.energy.final_repeats for task in tasks} == {EnergyConfig().final_repeats}


@needs_kernels
def test_a_modelled_front_is_compared_with_what_is_measured(run_folder, here):
    here(t0=3.0, t1=2.0, t2=1.0)
    found = measure_run(run_folder(objectives=("error", "hardware_energy_uj")))
    assert dict(found.compared) == {"inference_energy_j": "hardware_energy_uj"}
    assert found.changed == ()


def test_where_nothing_is_measured_it_says_what_would_be(run_folder):
    with pytest.raises(InputError, match=r"none of its objectives, error, model_size_bytes, is measured.*latency_ms"):
        measure_run(run_folder(objectives=("error", "model_size_bytes")))


def test_a_run_without_a_front_is_told(run_folder):
    with pytest.raises(InputError, match="no front to measure: no trial has completed"):
        measure_run(run_folder(figures={}))


@needs_kernels
def test_a_country_that_is_none_is_told(run_folder):
    with pytest.raises(InputError, match=r"energy\.country.*XYZ"):
        measure_run(run_folder(), country="XYZ")


@needs_kernels
def test_a_run_whose_checkpoints_are_gone_is_told(outcome, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(outcome.folder.path, copy)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match=r"copy/checkpoints.* has no checkpoint of epoch 1"):
        measure_run(copy)


@needs_kernels
@pytest.mark.slow
def test_from_the_command_line_with_windows_as_long_as_they_must_be(tmp_path):
    (tmp_path / "sure.yaml").write_text(EXPERIMENT)

    def dsnn_hpo(*arguments):
        command = [sys.executable, "-m", "dsnn_hpo", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=500)

    dsnn_hpo("run", "sure.yaml", "--out", "run")
    front = json.loads((tmp_path / "run" / "report" / "front.json").read_text())
    assert all(member["provenance"]["inference_energy_j"]["ci95"] > 0 for member in front["members"])
    measured = dsnn_hpo("measure", "run", "--json")
    members = json.loads(measured.stdout)
    assert {member["trial"] for member in front["members"]} <= {member["trial"] for member in members}
    assert measured.stderr.count("measuring trial") == len(members)
    # One network on one machine: half as much again is more than noise, even on a busy one.
    for member in members:
        assert member["here"]["inference_energy_j"] == pytest.approx(member["there"]["inference_energy_j"], rel=0.5)
