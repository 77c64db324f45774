"""The errors that a trial reports, and the frozen network that it leaves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dsnn_hpo.data import load_dataset, load_split, prepare
from dsnn_hpo.deploy import error_rate, load_model
from dsnn_hpo.errors import FreezeError
from dsnn_hpo.evaluation import _errors as module
from dsnn_hpo.evaluation import deployed, evaluate, model_folder, trained_network
from dsnn_hpo.trial import Trial
from tests.evaluation.test_evaluate import CONFIG

TRIAL = Trial(3, CONFIG, 4, 5)


def data_of(task):
    return prepare(load_dataset("digits"), load_split(task.folder / "split.npz"))


def test_the_reported_errors_are_those_of_the_model_that_is_left(digits_task):
    task = digits_task()
    result = evaluate(TRIAL, task)
    model, data = load_model(model_folder(task.folder, 3)), data_of(task)
    assert error_rate(model, data.validation) == result.values["error"]
    assert error_rate(model, data.test) == result.test_values["error"]
    assert result.values["emulation_error"] == result.curve[-1].validation_error
    assert result.provenance["error"].method == "validation samples, frozen network"
    assert model.classes == tuple("0123456789")
    assert model.facts.configuration == CONFIG


def test_a_trial_that_is_stopped_early_reports_its_network_as_it_trains(digits_task):
    task = digits_task()
    result = evaluate(Trial(3, CONFIG, 2, 5), task)
    assert result.values["error"] == result.curve[-1].validation_error
    assert not result.test_values
    assert result.provenance["error"].method == "validation samples, network as it trains"
    assert not (task.folder / "models").exists()


def test_a_second_attempt_replaces_the_model_of_the_first(digits_task):
    task = digits_task()
    folder = model_folder(task.folder, 3)
    first = evaluate(TRIAL, task)
    (folder / "model.json").write_text("half of it")
    assert evaluate(TRIAL, task).values["error"] == first.values["error"]
    trained = trained_network(TRIAL, task)
    x = torch.randn(16, 1, 8, 8)
    assert torch.equal(load_model(folder)(x), deployed(trained.network, trained.data)(x))


def test_a_network_that_cannot_be_frozen_reports_its_own_errors_and_says_so(digits_task, monkeypatch):
    def refuse(network: nn.Module, _data: object) -> None:
        raise FreezeError(f"no {type(network).__name__}")

    monkeypatch.setattr(module, "deployed", refuse)
    task = digits_task()
    result = evaluate(TRIAL, task)
    assert result.values["error"] == result.curve[-1].validation_error
    assert 0 <= result.test_values["error"] < 1
    assert result.provenance["error"].remarks == ("the network cannot be frozen, nor exported (no Sequential)",)
    assert not (task.folder / "models").exists()


@pytest.mark.parametrize("objective", ["inference_energy_j", "latency_ms"])
def test_what_is_measured_is_the_model_that_is_left(digits_task, monkeypatch, objective):
    frozen = []
    monkeypatch.setattr(module, "deployed", lambda *of: frozen.append(deployed(*of)) or frozen[-1])
    monkeypatch.setattr("dsnn_hpo.evaluation._figures.deployed", lambda *_: pytest.fail("frozen twice"))
    result = evaluate(TRIAL, digits_task(objectives=("error", objective)))
    assert result.error is None
    assert objective in result.values
    assert len(frozen) == 1
