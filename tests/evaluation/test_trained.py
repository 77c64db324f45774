"""The network of a trial, from its checkpoint."""

from __future__ import annotations

import shutil

import pytest
import torch

from dsnn_hpo.errors import InputError
from dsnn_hpo.evaluation import evaluate, trained_network
from dsnn_hpo.training import error_rate
from dsnn_hpo.trial import Trial
from tests.evaluation.test_evaluate import CONFIG


def test_the_network_is_that_of_the_reported_error(digits_task):
    task = digits_task()
    trial = Trial(3, CONFIG, 4, 5)
    result = evaluate(trial, task)
    trained = trained_network(trial, task)
    assert not trained.network.training
    batch_size = trained.settings.training.test_batch_size
    found = error_rate(trained.network, trained.data.validation, trained.data, batch_size)
    assert found == result.values["emulation_error"]
    again = trained_network(trial, task)
    state = again.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trained.network.state_dict().items())


def test_a_checkpoint_that_is_not_there(digits_task):
    task = digits_task()
    evaluate(Trial(3, CONFIG, 2, 5), task)
    with pytest.raises(InputError, match="no checkpoint of epoch 4, so the network of trial 3 cannot be had again"):
        trained_network(Trial(3, CONFIG, 4, 5), task)
    shutil.rmtree(task.folder / "checkpoints")
    with pytest.raises(InputError, match="no checkpoint of epoch 2"):
        trained_network(Trial(3, CONFIG, 2, 5), task)
