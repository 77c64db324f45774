"""Networks of several operators, and of each alone, as the shipped files describe them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dsnn_hpo.evaluation import evaluate
from dsnn_hpo.experiment import Experiment, ExperimentConfig, RunFolder, build, front_members, read_run, start
from dsnn_hpo.operators import OPERATORS
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Result, Trial, TrialState

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "task": {
        "dataset": "digits",
        "model": "resnet20",
        "model_arguments": {"width": 9, "depth": 1},
        "n_train": 200,
        "n_validation": 100,
    },
    "objectives": ["error", "model_size_bytes"],
    "fidelity": {"min_epochs": 1, "max_epochs": 2},
    "optimizer": "random",
    "execution": {"workers": 1, "threads": 1},
}


def test_a_hybrid_search_tries_all_operators(tmp_path: Path) -> None:
    fixed = SMALL["task"]["model_arguments"]
    space = yaml.safe_load((ROOT / "search_spaces" / "hybrid.yaml").read_text())
    space["hyperparameters"] = [item for item in space["hyperparameters"] if item["name"] not in fixed]
    (tmp_path / "narrow.yaml").write_text(yaml.safe_dump(space))
    changes = {"name": "hybrid", "search_space": "narrow.yaml", "budget": {"trials": 10}}
    config = ExperimentConfig.from_mapping(
        {**SMALL, **changes, "fidelity": {"min_epochs": 1, "max_epochs": 1}}, tmp_path
    )
    outcome = start(config, tmp_path / "run")
    results = outcome.history.results
    assert [r.state for r in results] == [TrialState.COMPLETED] * 10, [r.error for r in results]
    used = {str(r.trial.config[f"stage{stage}_operator"]) for r in results for stage in (1, 2, 3)}
    assert used == {"shift_q", "shift_ps", "dense_shift", "adder", "shift_add", "spatial_shift", "conv"}
    assert front_members(read_run(RunFolder(tmp_path / "run").path)) == front_members(outcome.history)


def completed(experiment: Experiment, folder: Path, trial: Trial) -> Result:
    folder.mkdir(exist_ok=True)
    experiment.split.save(folder / "split.npz")
    result = evaluate(trial, experiment.task(folder))
    assert result.state is TrialState.COMPLETED, result.error
    return result


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_s_experiment_trains_and_goes_on_from_a_checkpoint(name: str, tmp_path: Path) -> None:
    shipped = yaml.safe_load((ROOT / "experiments" / "operators" / f"{name}.yaml").read_text())
    described = {key: shipped[key] for key in ("name", "search_space", "fixed")}
    experiment = build(ExperimentConfig.from_mapping({**SMALL, **described, "budget": {"trials": 1}}, tmp_path))
    trial = Trial(0, plain(experiment.space.get_default_configuration()), 1, seed=0)
    assert trial.config["operator"] == name
    first = completed(experiment, tmp_path / "rungs", trial)
    resumed = completed(experiment, tmp_path / "rungs", replace(trial, id=1, fidelity=2))
    whole = completed(experiment, tmp_path / "whole", replace(trial, fidelity=2))
    assert (first.n_epochs, resumed.n_epochs, whole.n_epochs) == (1, 1, 2)
    losses = [[(e.train_loss, e.validation_error) for e in result.curve] for result in (resumed, whole)]
    assert losses[0] == losses[1]
    assert resumed.test_values == whole.test_values
    assert losses[1][1][0] < losses[1][0][0]
