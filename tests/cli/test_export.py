"""A trial exported, and the exported model used, as a user types it."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from dsnn_hpo.cli import main
from dsnn_hpo.data import load_dataset, load_split, prepare
from dsnn_hpo.deploy import DeployedModel, error_rate, load_model
from dsnn_hpo.evaluation import deployed, trained_network
from dsnn_hpo.experiment import ExperimentConfig, RunFolder, build, export_trial, start
from tests.cli.test_commands import dsnn_hpo

EXPERIMENT = """\
name: ship
task: {dataset: digits, model: cnn, model_arguments: {width: 6, depth: 2}, n_train: 400, n_validation: 200}
search_space: dsnn
objectives: [error, model_size_bytes]
optimizer: {name: random}
fidelity: {min_epochs: 1, max_epochs: 3}
budget: {trials: 4}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns the outcome of a finished run."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "ship.yaml").write_text(EXPERIMENT)
    return start(ExperimentConfig.from_file(folder / "ship.yaml"), folder / "run")


@pytest.fixture(scope="module")
def exported(run):
    """Returns the folder of the front's most accurate member, with C, and what was printed."""
    to = run.folder.path.parent / "model"
    trial = run.history.front()[0].trial.id
    ended = dsnn_hpo("export", run.folder.path, trial, "--to", to, "--format", "c")
    assert ended.returncode == 0, ended.stderr
    return to, ended.stdout


def digits_of(run):
    return prepare(load_dataset("digits"), load_split(run.folder.split))


def test_every_member_of_the_front_reloads_as_it_was_frozen(run, tmp_path):
    test = digits_of(run).test
    task = build(ExperimentConfig.from_file(run.folder.path.parent / "ship.yaml")).task(run.folder.path)
    for result in run.history.front():
        to = tmp_path / str(result.trial.id)
        ended = dsnn_hpo("export", run.folder.path, result.trial.id, "--to", to)
        assert ended.returncode == 0, ended.stderr
        loaded = load_model(to)
        trained = trained_network(result.trial, task)
        executor = deployed(trained.network, trained.data)
        assert torch.equal(loaded.logits(test.images), DeployedModel(executor, loaded.facts).logits(test.images))
        evaluated = dsnn_hpo("evaluate", to, "digits", "--split", run.folder.split, "--json")
        found = json.loads(evaluated.stdout)
        assert found["error"] == error_rate(loaded, test)
        assert found["n_images"] == len(test)
        assert f"{found['error']:.2%} of the test images" in ended.stdout
        assert found["error"] == result.test_values["error"]
        assert error_rate(loaded, digits_of(run).validation) == result.values["error"]


def test_what_export_prints_and_writes(run, exported):
    to, printed = exported
    trial = run.history.front()[0].trial
    assert printed.startswith(f"trial {trial.id}: {to}\n")
    assert "bytes of packed weights" in printed
    assert "bytes of RAM" in printed
    assert {file.name for file in to.iterdir()} == {
        *("weights.safetensors", "model.json", "README.md", "SHA256SUMS", "model.c")
    }
    card = (to / "README.md").read_text()
    assert f"| trial | {trial.id}, {trial.fidelity} epochs, seed {trial.seed} |" in card
    assert run.history.header.run_id in card
    assert "| error, test part |" in card
    assert load_model(to).facts.configuration == dict(trial.config)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_compiled_file_has_the_same_accuracy(run, exported):
    to, _ = exported
    library = to.parent / "model.so"
    command = ["gcc", "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", to / "model.c", "-o", library]
    subprocess.run(command, check=True)
    compiled = ctypes.CDLL(str(library))
    test = digits_of(run).test
    found = [compiled.model_predict(np.ascontiguousarray(image).ctypes) for image in test.images.numpy()]
    assert found == load_model(to).predict(test.images).indices.tolist()


def test_predict_image_files_and_arrays(run, exported, tmp_path):
    to, _ = exported
    images = digits_of(run).test.images[:3]
    np.save(tmp_path / "three.npy", images.numpy())
    np.save(tmp_path / "one.npy", images[0, 0].numpy())
    Image.fromarray(images[1, 0].numpy()).save(tmp_path / "grey.png")
    Image.fromarray(images[2, 0].numpy()).convert("RGB").save(tmp_path / "coloured.png")
    files = [tmp_path / name for name in ("three.npy", "one.npy", "grey.png", "coloured.png")]
    expected = load_model(to).predict(images[[0, 1, 2, 0, 1, 2]])
    found = json.loads(dsnn_hpo("predict", to, *files, "--json").stdout)
    assert [entry["label"] for entry in found] == list(expected.labels)
    assert [entry["probability"] for entry in found] == pytest.approx(expected.probabilities.amax(1).tolist())
    assert [entry["image"] for entry in found[:2]] == [f"{files[0]}[0]", f"{files[0]}[1]"]
    lines = dsnn_hpo("predict", to, files[2]).stdout.splitlines()
    assert lines == [f"{files[2]}: {expected.labels[1]} ({float(expected.probabilities[1].max()):.1%})"]


def test_evaluate_on_class_folders(run, exported, tmp_path):
    to, _ = exported
    test = digits_of(run).test
    for index in range(20):
        folder = tmp_path / str(int(test.labels[index]))
        folder.mkdir(exist_ok=True)
        Image.fromarray(test.images[index, 0].numpy()).save(folder / f"{index}.png")
    found = load_model(to).predict(test.images[:20]).indices
    wrong = int((found != test.labels[:20]).sum())
    ended = dsnn_hpo("evaluate", to, tmp_path)
    assert ended.stdout == f"error: {wrong / 20:.4%} of 20 images (the images in {tmp_path})\n"
    (tmp_path / "7").rename(tmp_path / "seven")
    ended = dsnn_hpo("evaluate", to, tmp_path)
    assert ended.returncode == 2
    assert "seven: there is no class 'seven' (" in ended.stderr


def mistakes(run, to, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    np.save(tmp_path / "float.npy", np.zeros((1, 8, 8)))
    np.save(tmp_path / "large.npy", np.zeros((1, 9, 8), dtype=np.uint8))
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object))
    (tmp_path / "short.npy").write_bytes((tmp_path / "large.npy").read_bytes()[:100])
    folder = run.folder.path
    yield ("export", folder, 99, "--to", tmp_path / "x"), "has no finished trial 99; on its front are"
    yield ("export", tmp_path, 0, "--to", tmp_path / "x"), "holds no run"
    yield ("export", folder, run.history.front()[0].trial.id, "--to", tmp_path), "is not an empty folder"
    yield ("predict", tmp_path, tmp_path / "text.png"), "model.json: cannot be read: No such file or directory"
    yield ("predict", to, tmp_path / "text.png"), "is not a readable image"
    yield ("predict", to, tmp_path / "nowhere.png"), "is not a readable image"
    yield ("predict", to, tmp_path / "float.npy"), "holds float64, expected uint8"
    yield ("predict", to, tmp_path / "large.npy"), "has shape (1, 9, 8), expected (1, 8, 8)"
    yield ("predict", to, tmp_path / "pickled.npy"), "is not a readable array"
    yield ("predict", to, tmp_path / "short.npy"), "is not a readable array"
    yield ("evaluate", to, "digts"), "did you mean 'digits'?"
    yield ("evaluate", to, tmp_path, "--split", "x"), "a path and a split are those of a data set by name"


def test_mistakes_get_a_message_and_no_traceback(run, exported, tmp_path, monkeypatch, capsys):
    # In this process: a dozen new ones would take a minute.
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for command, message in mistakes(run, exported[0], tmp_path):
        monkeypatch.setattr(sys, "argv", ["dsnn-hpo", *map(str, command)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2, command
        assert message in capsys.readouterr().err, command
    assert not (tmp_path / "x").exists()


def test_what_is_exported_is_what_the_worker_froze(run, tmp_path):
    other = RunFolder(tmp_path / "run")
    shutil.copytree(run.folder.path, other.path)
    shutil.rmtree(other.path / "checkpoints")
    result = run.history.front()[0]
    made = export_trial(other.path, result.trial.id, tmp_path / "model")
    assert made.errors == made.reported == {"validation": result.values["error"], "test": result.test_values["error"]}
    weights = (tmp_path / "model" / "weights.safetensors").read_bytes()
    assert weights == (other.model(result.trial.id) / "weights.safetensors").read_bytes()
    (other.model(result.trial.id) / "weights.safetensors").write_bytes(weights[:-1])
    ended = dsnn_hpo("export", other.path, result.trial.id, "--to", tmp_path / "damaged")
    assert ended.returncode == 2
    assert "weights.safetensors: its SHA-256 is not that of SHA256SUMS: the file is damaged" in ended.stderr


def test_a_trial_that_was_stopped_early_is_frozen_from_its_checkpoint(tmp_path):
    (tmp_path / "ship.yaml").write_text(EXPERIMENT.replace("optimizer: {name: random}", "optimizer: {name: smac}"))
    outcome = start(ExperimentConfig.from_file(tmp_path / "ship.yaml"), tmp_path / "run")
    # The last rung of each configuration: its checkpoint is there.
    last = {result.trial.key: result for result in outcome.history.results}
    early = next(result for result in last.values() if result.trial.fidelity == 1)
    made = export_trial(tmp_path / "run", early.trial.id, tmp_path / "model")
    assert made.reported.keys() == {"validation"}
    assert made.errors["test"] == error_rate(load_model(tmp_path / "model"), digits_of(outcome).test)


def test_a_trial_whose_checkpoint_is_gone(run, tmp_path):
    other = tmp_path / "run"
    shutil.copytree(run.folder.path, other)
    shutil.rmtree(RunFolder(other).path / "checkpoints")
    shutil.rmtree(RunFolder(other).path / "models")
    trial = run.history.front()[0].trial.id
    ended = dsnn_hpo("export", other, trial, "--to", tmp_path / "model")
    assert ended.returncode == 2
    assert f"so the network of trial {trial} cannot be had again" in ended.stderr
