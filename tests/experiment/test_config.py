"""The experiment as a value: what it says, it says again when it is written."""

from __future__ import annotations

from importlib.resources import files

import pytest
import yaml

from dsnn_hpo import kernels
from dsnn_hpo.errors import InputError
from dsnn_hpo.experiment import ExperimentConfig, build
from dsnn_hpo.experiment._build import build_again
from dsnn_hpo.experiment._run import prepare
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


def test_an_optimizer_defaults_to_bayesian(tmp_path):
    assert ExperimentConfig.from_mapping(GOOD, tmp_path).optimizer.name == "bayesian"


def test_a_table_of_ones_own_lies_beside_the_file_and_the_shipped_ones_have_names(tmp_path, monkeypatch):
    monkeypatch.chdir("/")

    def table(hardware):
        return ExperimentConfig.from_mapping({**GOOD, "energy": {"hardware": hardware}}, tmp_path).hardware_table

    assert ExperimentConfig.from_mapping(GOOD, tmp_path).hardware_table == "horowitz-45nm"
    assert table("zynq-7-zc706") == "zynq-7-zc706"
    assert table("mine.yaml") == str(tmp_path / "mine.yaml")
    assert table("tables/mine") == str(tmp_path / "tables" / "mine")
    assert table("/elsewhere/mine.yaml") == "/elsewhere/mine.yaml"


def test_workers_are_told_where_the_table_is(tmp_path, monkeypatch):
    shipped = files("dsnn_hpo.energy.hardware") / "tables" / "horowitz-45nm.yaml"
    (tmp_path / "mine.yaml").write_text(shipped.read_text(encoding="utf-8"))
    monkeypatch.chdir("/")
    data = {**GOOD, "task": {"dataset": "digits", "model": "cnn"}, "energy": {"hardware": "mine.yaml"}}
    task = build(ExperimentConfig.from_mapping(data, tmp_path)).task(tmp_path)
    assert task.energy.hardware == str(tmp_path / "mine.yaml")


def test_a_run_keeps_the_user_s_own_table(tmp_path):
    shipped = files("dsnn_hpo.energy.hardware") / "tables" / "horowitz-45nm.yaml"
    (tmp_path / "mine.yaml").write_text(shipped.read_text(encoding="utf-8"))
    data = {**GOOD, "task": {"dataset": "digits", "model": "cnn"}, "energy": {"hardware": "mine.yaml"}}
    config = ExperimentConfig.from_mapping(data, tmp_path)
    folder = prepare(config, tmp_path / "run")
    # Resuming after it changed would mix figures of two tables.
    (tmp_path / "mine.yaml").unlink()
    task = build_again(config, folder).task(folder.path)
    assert task.energy.hardware == str(folder.hardware)
    assert folder.hardware.read_text(encoding="utf-8") == shipped.read_text(encoding="utf-8")


def test_an_energy_budget_is_enough(tmp_path):
    config = ExperimentConfig.from_mapping({**GOOD, "budget": {"energy_wh": 0.5}}, tmp_path)
    assert (config.budget.energy_wh, config.budget.trials) == (0.5, None)


def test_without_kernels_a_figure_of_the_executor_is_refused_at_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "isa", lambda: None)
    file = tmp_path / "e.yaml"
    data = {**GOOD, "task": {"dataset": "digits", "model": "cnn"}, "objectives": ["error", "latency_ms"]}
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(InputError, match=r"e\.yaml:\d+: objectives: latency_ms: .*dsnn-hpo doctor"):
        build(ExperimentConfig.from_file(file))
