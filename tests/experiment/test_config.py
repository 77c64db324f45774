"""The experiment as a value: what it says, it says again when it is written."""

from __future__ import annotations

import pytest
import yaml

from dsnn_hpo.experiment import ExperimentConfig
from dsnn_hpo.experiment.config import BudgetConfig

GOOD = {
    "name": "digits",
    "task": {"dataset": "digits", "model": "cnn", "path": "data", "augmentation": ["flip"]},
    "search_space": "dsnn",
    "objectives": ["error", "model_size_bytes"],
    "fidelity": {"min_epochs": 1, "max_epochs": 9},
    "budget": {"wall_time_s": 60},
}


@pytest.mark.parametrize(
    "optimizer",
    [
        None,
        "smac",
        "random",
        "optuna",
        {"name": "optuna", "sampler": "tpe", "n_initial": 4},
        {"name": "optuna", "sampler": "nsga2", "population_size": 8},
        {"name": "smac", "n_initial": 7, "evaluate_default": False},
    ],
)
def test_an_experiment_made_in_python_survives_being_written(optimizer, tmp_path):
    data = GOOD if optimizer is None else {**GOOD, "optimizer": optimizer}
    config = ExperimentConfig.from_mapping(data, tmp_path)
    file = tmp_path / "written.yaml"
    file.write_text(config.text)
    assert ExperimentConfig.from_file(file).model_dump() == config.model_dump()
    assert ExperimentConfig.from_mapping(config.as_written(), tmp_path).model_dump() == config.model_dump()


def test_text_is_as_written_until_the_experiment_changes(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump(GOOD) + "# a comment\n")
    config = ExperimentConfig.from_file(file)
    assert config.text.endswith("# a comment\n")
    changed = config.model_copy(update={"budget": BudgetConfig(trials=5)})
    assert yaml.safe_load(changed.text)["budget"] == {"trials": 5}


def test_relative_paths_start_from_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = ExperimentConfig.from_mapping({**GOOD, "tracking": {"uri": "sqlite:///a.db"}}, tmp_path)
    assert config.data_path == tmp_path / "data"
    assert config.tracking_uri == f"sqlite:///{tmp_path}/a.db"
    absolute = ExperimentConfig.from_mapping({**GOOD, "tracking": {"uri": "sqlite:////x/a.db"}}, tmp_path)
    assert absolute.tracking_uri == "sqlite:////x/a.db"
    server = ExperimentConfig.from_mapping({**GOOD, "tracking": {"uri": "http://127.0.0.1:5000"}}, tmp_path)
    assert server.tracking_uri == "http://127.0.0.1:5000"


def test_numbers_may_be_whole_where_fractions_are_allowed(tmp_path):
    assert ExperimentConfig.from_mapping(GOOD, tmp_path).budget.wall_time_s == 60.0


def test_an_optimizer_defaults_to_smac(tmp_path):
    assert ExperimentConfig.from_mapping(GOOD, tmp_path).optimizer.name == "smac"
