"""What is saved is what is loaded: the same plan, the same bits."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.data import Samples, load_dataset
from dsnn_hpo.deploy import DeployedModel, error_rate, evaluate_on, load_model, save_model
from dsnn_hpo.deploy._check import check_plan
from dsnn_hpo.errors import DataError, InputError, ModelFolderError
from dsnn_hpo.executor import freeze
from dsnn_hpo.operators import convert_, matching
from tests.deploy.networks import CHOICES, SMALL, facts_of, frozen, normalised, pixels
from tests.executor.test_random_networks import CONFIGS, networks


@pytest.mark.parametrize("choice", [*CHOICES, "winograd"])
@pytest.mark.parametrize("model", ["cnn", "resnet20"])
def test_logits_are_the_same_bits(model, choice, reloaded):
    executor = frozen(model, choice)
    loaded = reloaded(executor)
    x = normalised(pixels(20, executor.plan.input_shape))
    assert torch.equal(loaded(x), executor(x))
    assert loaded.plan.n_weight_bytes == executor.plan.n_weight_bytes
    assert repr(loaded).splitlines()[1:] == repr(executor).splitlines()[1:]


@pytest.mark.parametrize("model", [pytest.param(m, marks=pytest.mark.slow) if m == "googlenet" else m for m in SMALL])
def test_every_family_of_networks(model, reloaded):
    executor = frozen(model, "shift")
    loaded = reloaded(executor)
    x = normalised(pixels(4, executor.plan.input_shape))
    assert torch.equal(loaded(x), executor(x))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=60, derandomize=True, deadline=None)
@given(networks(), CONFIGS, st.booleans())
def test_every_plan_that_freezing_makes_passes_the_check(drawn, config, is_converted):
    network, x = drawn
    if is_converted:
        network = convert_(network, matching("*", config), from_trained=True)
    check_plan(freeze(network.eval(), x).plan)


def test_predictions(reloaded):
    executor = frozen("cnn", "shift")
    loaded = reloaded(executor)
    images = pixels(150, executor.plan.input_shape)
    logits = executor(normalised(images))
    found = loaded.predict(images)
    assert torch.equal(found.indices, logits.argmax(1))
    assert torch.equal(found.probabilities, torch.softmax(logits, 1))
    assert found.labels[3] == f"class {int(found.indices[3])}"
    assert torch.equal(loaded.predict(images.numpy()).indices, found.indices)
    assert loaded.predict(images[3]).labels == found.labels[3:4]
    assert loaded.predict(images[:0]).labels == ()
    samples = Samples(images, (found.indices + (torch.arange(150) < 30)) % 10)
    assert error_rate(loaded, samples) == 30 / 150


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1]], "must be a tensor or an array, not list"),
        (torch.zeros(2, 3, 9, 11), r"must be uint8, pixels of 0 to 255, not torch\.float32"),
        (np.zeros((2, 3, 9, 11)), "must be uint8, pixels of 0 to 255, not float64"),
        (torch.zeros(2, 1, 9, 11, dtype=torch.uint8), r"have shape \(2, 1, 9, 11\), expected \(n, 3, 9, 11\)"),
    ],
)
def test_other_images_are_refused(images, message, reloaded):
    with pytest.raises(InputError, match=message):
        reloaded(frozen("cnn", "shift")).predict(images)


def test_the_facts_come_back_and_the_card_names_them(tmp_path):
    executor = frozen("cnn", "shift")
    facts = replace(facts_of(executor), figures={"error on the test split": "0.0123"}, provenance={"run": "abc | d"})
    save_model(executor, facts, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.facts == facts_of(executor)
    assert loaded.classes == facts.classes
    assert loaded.input_shape == (3, 9, 11)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| error on the test split | 0.0123 |" in card
    assert "| run | abc \\| d |" in card
    assert f"{executor.plan.n_weight_bytes:,} bytes" in card
    assert "| lr | 0.1 |" in card


def test_the_usual_tool_checks_the_sums(tmp_path):
    executor = frozen("cnn", "shift")
    save_model(executor, facts_of(executor), tmp_path / "model")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "model", check=True)


def test_nothing_is_overwritten_and_nothing_left_behind(tmp_path):
    executor = frozen("cnn", "shift")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").touch()
    with pytest.raises(ModelFolderError, match="is not an empty folder"):
        save_model(executor, facts_of(executor), taken)
    (tmp_path / "empty").mkdir()
    save_model(executor, facts_of(executor), tmp_path / "empty")
    assert {path.name for path in tmp_path.iterdir()} == {"taken", "empty"}
    assert load_model(tmp_path / "empty").classes == facts_of(executor).classes
    with pytest.raises(ModelFolderError, match="cannot be written: Not a directory"):
        save_model(executor, facts_of(executor), taken / "mine" / "model")


def test_facts_that_do_not_fit_are_refused(tmp_path):
    executor = frozen("cnn", "shift")
    facts = facts_of(executor)
    with pytest.raises(InputError, match="classes: 9 names for 10 outputs"):
        save_model(executor, replace(facts, classes=facts.classes[1:]), tmp_path / "model")
    how = replace(facts.preprocessing, std=(1.0,))
    with pytest.raises(InputError, match=r"preprocessing\.std: 1 values for 3 channels"):
        save_model(executor, replace(facts, preprocessing=how), tmp_path / "model")
    how = replace(facts.preprocessing, mean=(0.1, 0.5, 0.5))
    with pytest.raises(InputError, match=r"mean\.0: .*must be exactly a float32"):
        save_model(executor, replace(facts, preprocessing=how), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_data_set_of_other_classes_or_images_is_refused(reloaded):
    executor = frozen("cnn", "shift")
    with pytest.raises(DataError, match=r"'digits' has a class that the model has not: '0' \("):
        evaluate_on(reloaded(executor), "digits")
    digits = replace(facts_of(executor), classes=tuple("0123456789"))
    with pytest.raises(InputError, match=r"have shape \(1797, 1, 8, 8\), expected \(n, 3, 9, 11\)"):
        evaluate_on(DeployedModel(executor, digits), "digits")


def test_the_labels_of_a_data_set_are_put_in_the_models_order():
    executor = frozen("cnn", "two-term", (1, 8, 8))
    names = tuple("9876543210")
    model = DeployedModel(executor, replace(facts_of(executor), classes=names))
    digits = load_dataset("digits").pool
    found = model.predict(digits.images)
    expected = sum(label != str(int(true)) for label, true in zip(found.labels, digits.labels, strict=True)) / 1797
    evaluated = evaluate_on(model, "digits")
    assert evaluated.error == expected
    assert evaluated.images == "all images of digits, which has no test images of its own"
