"""The experiment files that ship."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dsnn_hpo.cli import main
from dsnn_hpo.data import check_dataset
from dsnn_hpo.errors import DataError
from dsnn_hpo.experiment import ExperimentConfig, RunFolder, build, front_members, read_run, start
from dsnn_hpo.operators import OPERATORS
from dsnn_hpo.optimizers import plan
from dsnn_hpo.trial import TrialState

FOLDER = Path(__file__).parents[2] / "experiments"
SHIPPED = sorted(FOLDER.rglob("*.yaml"))
PAPER = {
    # As published: trials, epochs, random configurations, seed; and the rungs that follow.
    "cifar10_resnet20": (200, 10, 50, 15, 44, (17, 50)),
    "caltech101_mobilenetv2": (100, 2, 20, 15, 12, (2, 7, 20)),
}


def shipped(name: str) -> Path:
    return next(file for file in SHIPPED if file.stem == name)


def changed(name: str, path: Path, **sections: Any) -> ExperimentConfig:
    """Returns a shipped experiment with another data path and other sections."""
    data = yaml.safe_load(shipped(name).read_text())
    task = {**data["task"], "path": str(path), **sections.pop("task", {})}
    return ExperimentConfig.from_mapping({**data, **sections, "task": task}, shipped(name).parent)


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Returns a function that runs the command line in this process and returns its exit code."""
    # The command line puts its own in place.
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["dsnn-hpo", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


def is_present(config: ExperimentConfig) -> bool:
    try:
        check_dataset(config.task.dataset, config.data_path)
    except DataError:
        return False
    return True


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_experiment_passes_check_where_its_data_are(file, command_line, capsys):
    config = ExperimentConfig.from_file(file)
    assert config.name == file.stem
    code = command_line("check", str(file))
    told = capsys.readouterr()
    if is_present(config):
        assert code == 0, told.err
        assert config.name in told.out
    else:
        assert code == 2
        assert "To get it:" in " ".join(told.err.split())


def test_there_are_the_files_that_the_documents_name():
    assert {"digits", "digits_hardware", "fashion_mnist", "fashion_mnist_hardware", "hybrid_fashion_mnist", *PAPER} <= {
        file.stem for file in SHIPPED
    }


def test_each_operator_has_an_experiment_and_all_have_one_protocol():
    files = [file for file in SHIPPED if file.parent.name == "operators"]
    assert {file.stem for file in files} == set(OPERATORS)
    protocols = []
    for file in files:
        config = ExperimentConfig.from_file(file)
        assert config.fixed["operator"] == file.stem
        protocols.append(config.model_dump(exclude={"name", "fixed"}))
    assert all(protocol == protocols[0] for protocol in protocols)


def test_fronts_of_the_hybrid_and_of_the_plain_space_can_be_compared():
    plain, hybrid = (ExperimentConfig.from_file(shipped(name)) for name in ("fashion_mnist", "hybrid_fashion_mnist"))
    differing = {"name", "search_space"}
    assert hybrid.model_dump(exclude=differing) == plain.model_dump(exclude=differing)
    assert (plain.search_space, hybrid.search_space) == ("dsnn", "hybrid")


@pytest.mark.parametrize("name", PAPER)
def test_paper_files_carry_the_published_protocol(name):
    config = ExperimentConfig.from_file(shipped(name))
    n_trials, min_epochs, max_epochs, n_initial, seed, rungs = PAPER[name]
    assert config.budget.model_dump(exclude_none=True) == {"trials": n_trials}
    assert (config.fidelity.min_epochs, config.fidelity.max_epochs, config.fidelity.eta) == (min_epochs, max_epochs, 3)
    assert config.rungs.rungs() == rungs
    assert (config.optimizer.name, config.optimizer.n_initial) == ("smac", n_initial)
    assert (config.seed, config.execution.workers) == (seed, 1)
    assert config.search_space == "dsnn_paper"
    assert config.objectives == ("error", "emulation_energy_j")
    task = config.task
    assert (task.schedule, task.normalization, task.augmentation) == ("constant", "imagenet", ())
    assert task.validation_fraction == 0.2
    assert config.data_path.parent == FOLDER.parent / "data"


def test_paper_brackets_are_those_published():
    brackets = {
        name: plan(config.optimizer, config.rungs).brackets
        for name, config in ((name, ExperimentConfig.from_file(shipped(name))) for name in PAPER)
    }
    assert brackets["cifar10_resnet20"] == (((3, 17), (1, 50)), ((2, 50),))
    assert brackets["caltech101_mobilenetv2"] == (((9, 2), (3, 7), (1, 20)), ((5, 7), (1, 20)), ((3, 20),))


def test_cifar10_paper_experiment_is_split_as_published(cifar10_archive):
    experiment = build(changed("cifar10_resnet20", cifar10_archive))
    split = experiment.split
    assert (len(split.train), len(split.validation), len(split.test), split.test_is_pool) == (240, 60, 40, False)
    assert experiment.dataset.input_shape == (3, 32, 32)
    assert experiment.space["shift_depth"].upper == 19


def test_caltech101_paper_experiment_builds_on_its_published_form(caltech101_folder):
    experiment = build(changed("caltech101_mobilenetv2", caltech101_folder))
    split = experiment.split
    assert (len(split.train), len(split.validation), len(split.test)) == (21, 6, 3)
    assert experiment.dataset.input_shape == (3, 224, 224)
    assert experiment.dataset.classes == ("accordion", "airplanes", "anchor")


def test_cifar10_paper_experiment_runs_on_a_small_archive(cifar10_archive, tmp_path):
    config = changed(
        "cifar10_resnet20",
        cifar10_archive,
        task={"model_arguments": {"width": 4, "depth": 1}},
        fidelity={"min_epochs": 1, "max_epochs": 3, "eta": 3},
        budget={"trials": 6},
        execution={"workers": 1, "threads": 1},
        # Measuring the front again is tested elsewhere, and takes half a minute for each member.
        energy={"final_repeats": 0},
    )
    outcome = start(config, tmp_path / "run")
    history = outcome.history
    assert history.finished
    results = history.results
    assert len(results) == 6
    assert {r.state for r in results} == {TrialState.COMPLETED}, [r.error for r in results]
    assert [r.trial.fidelity for r in results] == [1, 1, 1, 3, 3, 3]
    for result in results:
        assert result.values["emulation_energy_j"] > 0
        assert len(result.curve) == min(result.trial.fidelity, result.trial.config["epochs"])
        # A constant learning rate, the one sampled.
        assert {epoch.lr for epoch in result.curve} == {result.trial.config["lr"]}
    promoted = results[3]
    assert promoted.trial.config in [r.trial.config for r in results[:3]]
    assert promoted.n_epochs == len(promoted.curve) - 1
    members = front_members(read_run(RunFolder(tmp_path / "run").path))
    assert members == front_members(history)
    assert members
    assert all(member.test_values.keys() == {"error"} for member in members)
