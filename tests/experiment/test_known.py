"""What is known before training is what results hold."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dsnn_hpo.energy.hardware as energy_hardware
from dsnn_hpo.data import load_dataset, make_split
from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.evaluation import Task, TaskConfig, counted_figures, evaluate
from dsnn_hpo.experiment import ExperimentConfig, start
from dsnn_hpo.experiment._known import known_figures
from dsnn_hpo.trial import OBJECTIVES, Trial
from tests.experiment.conftest import EXPERIMENT as SMALL

CONFIG = {"weight_bits": 3, "shift_depth": 1, "width": 4, "depth": 1}
FIGURES = tuple(OBJECTIVES[name] for name in ("error", "model_size_bytes", "hardware_energy_uj"))


@pytest.fixture
def task(tmp_path: Path) -> Task:
    config = TaskConfig(dataset="digits", model="cnn", n_train=64, n_validation=64)
    return Task(config, tuple(o.name for o in FIGURES), 1, EnergyConfig(), tmp_path, 1)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", None, None)


def test_what_is_known_is_what_a_result_holds(task, digits):
    make_split(digits, 0, n_train=64, n_validation=64).save(task.folder / "split.npz")
    known = known_figures(FIGURES, task, digits)
    assert set(known) == {"model_size_bytes", "hardware_energy_uj"}
    values = evaluate(Trial(0, CONFIG, 1, 7), task).values
    assert {name: figure(CONFIG) for name, figure in known.items()} == {name: values[name] for name in known}


def test_the_figures_of_a_configuration_are_counted_once(task, digits, monkeypatch):
    counted = []

    def count(config, *rest):
        counted.append(config)
        return counted_figures(config, *rest)

    monkeypatch.setattr("dsnn_hpo.experiment._known.counted_figures", count)
    known = known_figures(FIGURES, task, digits)
    random_state = torch.get_rng_state()
    first = {name: figure(CONFIG) for name, figure in known.items()}
    assert len(counted) == 1
    assert torch.equal(torch.get_rng_state(), random_state)
    again = pickle.loads(pickle.dumps(known))  # noqa: S301
    assert {name: figure(CONFIG) for name, figure in again.items()} == first
    assert known["model_size_bytes"]({**CONFIG, "width": 8}) > first["model_size_bytes"]


def test_a_network_that_cannot_be_built_is_not_known(task, digits):
    known = known_figures(FIGURES, task, digits)
    assert known["model_size_bytes"]({**CONFIG, "depth": -1, "no_such": 3}) is None


def test_where_training_decides_on_the_energy_it_is_not_known(task, digits, tmp_path):
    table = (Path(energy_hardware.__file__).parent / "tables" / "horowitz-45nm.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(table.replace("skip_zeros: false", "skip_zeros: true"), encoding="utf-8")
    assert "skip_zeros: true" in own.read_text(encoding="utf-8")
    task = replace(task, energy=EnergyConfig(hardware=str(own)))
    known = known_figures(FIGURES, task, digits)
    assert known["model_size_bytes"](CONFIG) is not None
    assert known["hardware_energy_uj"](CONFIG) is None


@pytest.mark.timeout(120)
def test_an_experiment_trains_nothing_that_is_known_to_be_too_large(tmp_path):
    text = SMALL.replace("trials: 18", "trials: 5").replace("model_arguments: {width: 4, depth: 1}", "model: cnn")
    text = text.replace("model: cnn, n_train", "n_train").replace(
        "smac", "{name: bayesian, n_initial: 9, evaluate_default: false, constraints: ['model_size_bytes <= 3000']}"
    )
    (tmp_path / "small.yaml").write_text(text)
    results = start(ExperimentConfig.from_file(tmp_path / "small.yaml"), tmp_path / "run").history.results
    assert len(results) == 5
    assert all(result.values["model_size_bytes"] <= 3000 for result in results)
