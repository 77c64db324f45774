"""Runs that are interrupted, killed and resumed: real processes, real trainings."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from dsnn_hpo import journal
from dsnn_hpo.errors import JournalError, RunFolderError
from dsnn_hpo.experiment import ExperimentConfig, front_members, resume, run, start
from dsnn_hpo.experiment.config import BudgetConfig
from dsnn_hpo.journal import Asked, History, Mark, Told
from tests.experiment.conftest import EXPERIMENT

DEADLINE_S = 240


def outcome(history: History) -> list[object]:
    """Returns what must not depend on interruptions: everything but times and energy."""
    kept: list[object] = []
    for event in history.events:
        match event:
            case Asked(trial):
                kept.append(("asked", trial))
            case Told(result):
                values = {name: result.values[name] for name in history.header.objectives if name in result.values}
                curve = [(e.number, e.train_loss, e.validation_error) for e in result.curve]
                kept.append(
                    ("told", result.trial, result.state, values, curve, result.n_epochs, dict(result.test_values))
                )
            case Mark():
                pass
    return kept


def n_told(path: Path) -> int:
    try:
        return len(journal.read(path / "journal.jsonl").results)
    except JournalError:
        return 0


def wait_until(condition, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n_kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_like_an_undisturbed_one(experiment_file, tmp_path, cli, n_kills):
    config = ExperimentConfig.from_file(experiment_file)
    undisturbed = start(config, tmp_path / "undisturbed")
    assert len(undisturbed.history.results) == 18

    folder = tmp_path / "disturbed"
    rng = random.Random(7)
    deadline = time.monotonic() + DEADLINE_S
    for kill in range(n_kills):
        command = (
            ("resume", folder) if (folder / "journal.jsonl").exists() else ("run", experiment_file, "--out", folder)
        )
        process = cli(*command)
        before = n_told(folder)
        # Most kills strike at any moment of the work, some while it is only being prepared.
        if kill % 3:
            wait_until(lambda before=before, process=process: n_told(folder) > before or process.poll() is not None)
            time.sleep(rng.uniform(0.0, 0.6))
        else:
            time.sleep(rng.uniform(0.5, 6.0))
        process.kill()
        process.wait()
        assert time.monotonic() < deadline
    finished = resume(folder)
    assert outcome(finished.history) == outcome(undisturbed.history)
    values = [
        [(m.trial, m.config, m.values["error"], m.test_values) for m in front_members(o.history)]
        for o in (finished, undisturbed)
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_130_and_the_line_that_resumes_it(number, experiment_file, tmp_path, cli):
    folder = tmp_path / "run"
    process = cli("run", experiment_file, "--out", folder)
    wait_until(lambda: n_told(folder) >= 2)
    interrupted_at = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - interrupted_at < 30
    assert f"dsnn-hpo resume {folder}" in err
    assert "Traceback" not in err
    assert journal.read(folder / "journal.jsonl").events[-1].name == "interrupted"

    process = cli("resume", folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert re.match(r"small: \d+ on the front at 3 epochs, of 18 trials", out)
    assert len(journal.read(folder / "journal.jsonl").results) == 18


def test_a_folder_that_holds_a_run_is_refused_with_the_resume_line(experiment_file, tmp_path, cli):
    folder = tmp_path / "run"
    config = ExperimentConfig.from_file(experiment_file)
    config = config.model_copy(update={"budget": BudgetConfig(trials=2)})
    members = run(config, folder)
    again = cli("run", experiment_file, "--out", folder)
    _, err = again.communicate(timeout=60)
    assert again.returncode == 2
    assert f"dsnn-hpo resume {folder}" in err
    # A finished run is only reported and mirrored again.
    before = (folder / "journal.jsonl").read_bytes()
    (folder / "report" / "pareto_front.png").unlink()
    assert front_members(resume(folder).history) == members
    assert (folder / "journal.jsonl").read_bytes() == before
    assert (folder / "report" / "pareto_front.png").exists()


def test_a_second_driver_is_kept_out(experiment_file, tmp_path, cli):
    folder = tmp_path / "run"
    process = cli("run", experiment_file, "--out", folder)
    wait_until(lambda: n_told(folder) >= 1)
    with pytest.raises(RunFolderError, match=f"in use by another dsnn-hpo \\(process {process.pid}\\)"):
        resume(folder)


def test_changed_data_are_not_mixed_into_an_old_run(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (60, 8, 8), np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    (tmp_path / "npz.yaml").write_text(
        "name: npz\ntask: {dataset: npz, path: data.npz, model: mlp}\nsearch_space: dsnn\nobjectives: [error]\n"
        "fidelity: {min_epochs: 1, max_epochs: 1}\noptimizer: random\nbudget: {trials: 1}\n"
    )
    folder = tmp_path / "run"
    run(ExperimentConfig.from_file(tmp_path / "npz.yaml"), folder)
    assert front_members(resume(folder).history)
    images[0, 0, 0] ^= 1
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    with pytest.raises(JournalError, match="the data set npz has changed"):
        resume(folder)


@pytest.mark.parametrize(
    "optimizer",
    [
        *("optuna", {"name": "smac", "n_initial": 3}, "bayesian"),
        *(pytest.param(o, marks=pytest.mark.slow) for o in ("random", "asha", {"name": "optuna", "sampler": "tpe"})),
    ],
)
def test_a_run_of_every_optimizer_resumes_from_any_folder(optimizer, experiment_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = yaml.safe_load(EXPERIMENT)
    data |= {"optimizer": optimizer, "budget": {"trials": 3}, "tracking": {"uri": "sqlite:///store.db"}}
    folder = Path("runs/a b/1")
    members = run(ExperimentConfig.from_mapping(data, tmp_path), folder)
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    # As after a kill: the last result and the end of the run are missing.
    (folder / "journal.jsonl").write_text("".join(lines[:-2]))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resumed = resume(tmp_path / folder)
    assert [m.trial for m in front_members(resumed.history)] == [m.trial for m in members]
    # Nothing was begun anew in the other folder.
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "store.db").exists()
    # The copy of the experiment in the run folder describes the same experiment.
    copy = ExperimentConfig.from_file(tmp_path / folder / "experiment.yaml")
    assert copy.model_dump() == ExperimentConfig.from_mapping(data, tmp_path).model_dump()


def test_the_default_store_is_found_again_from_any_folder(experiment_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ExperimentConfig.from_file(experiment_file)
    run(config.model_copy(update={"budget": BudgetConfig(trials=1)}), "runs/small/1")
    assert (tmp_path / "runs" / "mlflow.db").exists()
    monkeypatch.chdir(tmp_path.parent)
    resume(tmp_path / "runs" / "small" / "1")
    assert not (tmp_path / "runs" / "small" / "1" / "mlflow.db").exists()
