"""Runs that begin with what earlier ones found."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ConfigSpace import (
    CategoricalHyperparameter,
    ConfigurationSpace,
    InCondition,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from dsnn_hpo.errors import ExperimentError, RunFolderError
from dsnn_hpo.experiment import ExperimentConfig, resume, start
from dsnn_hpo.experiment._warm_start import WarmStart, config_in, find_warm_start, load_warm_start
from dsnn_hpo.journal import Asked, Header, Journal, Mark, Measured, Told
from dsnn_hpo.trial import Fidelity, Result, Trial, TrialState, config_key
from tests.experiment.conftest import EXPERIMENT as SMALL

EXPERIMENT = {
    "name": "later",
    "task": {"dataset": "digits", "model": "cnn"},
    "search_space": "dsnn",
    "objectives": ["error", "model_size_bytes"],
    "fidelity": {"min_epochs": 1, "max_epochs": 9},
    "budget": {"trials": 9},
}


@pytest.fixture
def space() -> ConfigurationSpace:
    space = ConfigurationSpace()
    optimizer = CategoricalHyperparameter("optimizer", ["Adam", "SGD"])
    momentum = UniformFloatHyperparameter("momentum", 0.0, 0.9)
    space.add(optimizer, momentum, UniformIntegerHyperparameter("width", 4, 16, default_value=8))
    space.add(InCondition(momentum, optimizer, ["SGD"]))
    return space


def write_run(folder: Path, configs: list[dict], objectives=("error", "model_size_bytes")) -> Path:
    folder.mkdir()
    header = Header("id", "earlier", 0.0, {}, "", objectives, Fidelity(1, 9), {})
    with Journal.create(folder / "journal.jsonl", header) as journal:
        for number, config in enumerate(configs):
            trial = Trial(number, config, 9, 0)
            journal.append(Asked(trial, 0.0))
            values = {"error": 0.1 * (number + 1), "model_size_bytes": 100.0, "train_energy_j": 1.0}
            journal.append(Told(Result(trial, TrialState.COMPLETED, values), 0.0))
        failed = Trial(len(configs), configs[0] if configs else {}, 3, 0)
        journal.append(Asked(failed, 0.0))
        journal.append(Told(Result(failed, TrialState.FAILED, error="diverged"), 0.0))
        journal.append(Mark("finished", 0.0))
    return folder


def later(folder: Path, *runs: str) -> ExperimentConfig:
    optimizer = {"name": "bayesian", "warm_start": list(runs)}
    return ExperimentConfig.from_mapping({**EXPERIMENT, "optimizer": optimizer}, folder)


def test_results_of_this_space_are_taken(tmp_path, space):
    configs = [{"optimizer": "Adam", "width": 8}, {"optimizer": "SGD", "momentum": 0.5, "width": 4}]
    write_run(tmp_path / "earlier", configs)
    found = find_warm_start(later(tmp_path, "earlier"), space)
    assert [r.trial.config for r in found.results] == configs
    assert [dict(r.values) for r in found.results] == [
        {"error": 0.1, "model_size_bytes": 100.0},
        {"error": 0.2, "model_size_bytes": 100.0},
    ]
    assert found.notes == ("earlier: 2 of 2 results taken",)


def test_an_overlapping_space_is_told_of(tmp_path, space):
    write_run(tmp_path / "earlier", [{"optimizer": "Adam", "depth": 2}, {"optimizer": "Ranger", "depth": 2}])
    found = find_warm_start(later(tmp_path, "earlier"), space)
    assert [r.trial.config for r in found.results] == [{"optimizer": "Adam", "width": 8}]
    assert found.notes == (
        "earlier: 1 of 2 results taken; not searched here, and ignored: depth; "
        "not searched there, and taken as the default: width, momentum",
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"optimizer": "SGD", "width": 4}, {"optimizer": "SGD", "width": 4, "momentum": 0.45}),
        ({"optimizer": "Adam", "momentum": 0.3, "width": 4}, {"optimizer": "Adam", "width": 4}),
        ({"optimizer": "Adam", "width": 99}, None),
        ({"optimizer": "Adagrad", "width": 4}, None),
        ({"optimizer": "Adam", "width": "wide"}, None),
    ],
)
def test_configurations_are_made_ones_of_the_space(space, config, expected):
    assert config_in(space, config) == expected


def test_other_objectives_are_refused(tmp_path, space):
    write_run(tmp_path / "earlier", [{"optimizer": "Adam", "width": 8}], ("error", "train_energy_j"))
    with pytest.raises(ExperimentError, match="searched for error, train_energy_j, and not for model_size_bytes"):
        find_warm_start(later(tmp_path, "earlier"), space)


def test_a_run_without_use_is_refused(tmp_path, space):
    write_run(tmp_path / "earlier", [{"optimizer": "Ranger", "width": 8}])
    with pytest.raises(ExperimentError, match="none of its 1 results is of a configuration of this space"):
        find_warm_start(later(tmp_path, "earlier"), space)


def test_a_folder_without_a_run_is_refused(tmp_path, space):
    with pytest.raises(RunFolderError, match="nothing holds no run"):
        find_warm_start(later(tmp_path, "nothing"), space)


def test_figures_measured_again_are_taken(tmp_path, space):
    folder = write_run(tmp_path / "earlier", [{"optimizer": "Adam", "width": 8}])
    opened, history = Journal.resume(folder / "journal.jsonl")
    found = history.results[0]
    with opened:
        opened.append(Measured(found.trial, {"error": 0.01}, {}, 0.0, 0.0))
    assert find_warm_start(later(tmp_path, "earlier"), space).results[0].values["error"] == 0.01


def test_what_was_saved_is_read_again(tmp_path, space):
    write_run(tmp_path / "earlier", [{"optimizer": "Adam", "width": 8}])
    found = find_warm_start(later(tmp_path, "earlier"), space)
    found.save(tmp_path / "copy.jsonl")
    shutil.rmtree(tmp_path / "earlier")
    assert load_warm_start(tmp_path / "copy.jsonl") == replace(found)
    assert find_warm_start(ExperimentConfig.from_mapping(EXPERIMENT, tmp_path), space) == WarmStart()


@pytest.mark.parametrize("text", [None, "", "{}\n", '{"notes": []}\n{"trial": 1}\n'])
def test_a_copy_that_is_gone_or_damaged_is_told(tmp_path, text):
    file = tmp_path / "copy.jsonl"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RunFolderError, match="cannot be carried on"):
        load_warm_start(file)


@pytest.mark.timeout(120)
def test_a_run_begins_with_it_and_goes_on_where_the_earlier_run_is_gone(tmp_path):
    text = SMALL.replace("trials: 18", "trials: 3")
    (tmp_path / "first.yaml").write_text(text.replace("smac", "random"))
    (tmp_path / "later.yaml").write_text(text.replace("smac", "{name: bayesian, warm_start: [earlier], n_initial: 4}"))
    earlier = start(ExperimentConfig.from_file(tmp_path / "first.yaml"), tmp_path / "earlier")
    outcome = start(ExperimentConfig.from_file(tmp_path / "later.yaml"), tmp_path / "later")
    assert len(outcome.history.results) == 3
    had = {config_key(r.trial.config, 0) for r in earlier.history.results}
    asked = [config_key(r.trial.config, 0) for r in outcome.history.results]
    # The first is the default, which the earlier run had too.
    assert asked[1] in had
    [began] = [e.reason for e in outcome.history.events if isinstance(e, Mark) and e.name == "started"]
    assert began == "warm start from earlier: 3 of 3 results taken"
    shutil.rmtree(tmp_path / "earlier")
    assert resume(tmp_path / "later").history.results == outcome.history.results
