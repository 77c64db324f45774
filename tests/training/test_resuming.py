"""A training continued from checkpoints is the uninterrupted one, bit by bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dsnn_hpo.errors import TrialError
from dsnn_hpo.training import OPTIMIZERS, error_rate, load_checkpoint, train

LR = {"SGD": 0.05, "Adadelta": 1.0, "Adagrad": 0.02, "RAdam": 0.05, "Ranger": 0.05}


def flat(value, prefix=""):
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{prefix}/{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f"{prefix}/{i}").items()}
    return {prefix: value}


def assert_equal_states(left, right):
    left, right = flat(left), flat(right)
    assert left.keys() == right.keys()
    for key, value in left.items():
        same = torch.equal(value, right[key]) if isinstance(value, torch.Tensor) else value == right[key]
        assert same, key


def without_seconds(curve):
    return [replace(epoch, seconds=0.0) for epoch in curve]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_continued_training_equals_an_uninterrupted_one(tmp_path, data, settings, network, optimizer):
    how = settings(
        optimizer=optimizer, lr=LR.get(optimizer, 0.005), max_epochs=5, augmentation=("flip", "crop", "cutout")
    )
    whole_network = network()
    whole = train(whole_network, data, how, 5)

    checkpoint, continued_network = None, None
    for n_epochs in (1, 3, 5):
        # A new network each time, with other weights: everything must come from the file.
        continued_network = network()
        if checkpoint is not None:
            with torch.no_grad():
                for parameter in continued_network.parameters():
                    parameter.mul_(0.5)
            torch.manual_seed(n_epochs)
        checkpoint = train(continued_network, data, how, n_epochs, checkpoint)
        checkpoint.save(tmp_path / "checkpoint.pt")
        checkpoint = load_checkpoint(tmp_path / "checkpoint.pt")

    assert without_seconds(checkpoint.curve) == without_seconds(whole.curve)
    assert_equal_states(checkpoint.network_state, whole.network_state)
    assert_equal_states(checkpoint.optimizer_state, whole.optimizer_state)
    assert_equal_states(continued_network.state_dict(), whole_network.state_dict())
    errors = [error_rate(n, data.test, data, 64) for n in (whole_network, continued_network)]
    assert errors[0] == errors[1]


def test_every_optimizer_trains(data, settings, plain_network):
    for optimizer in OPTIMIZERS:
        how = settings(optimizer=optimizer, lr=LR.get(optimizer, 0.005), max_epochs=12)
        curve = train(plain_network(), data, how, 12).curve
        assert curve[-1].train_loss < 0.8 * curve[0].train_loss, optimizer


def test_a_start_is_left_as_it_is(data, settings, plain_network):
    for optimizer in OPTIMIZERS:
        how = settings(optimizer=optimizer, lr=0.005)
        start = train(plain_network(), data, how, 1)
        before = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in flat(start.optimizer_state).items()}
        weights = {k: v.clone() for k, v in start.network_state.items()}
        train(plain_network(), data, how, 2, start)
        assert_equal_states(flat(start.optimizer_state), before)
        assert_equal_states(start.network_state, weights)


def test_nothing_left_to_train_returns_the_start_loaded(data, settings, plain_network):
    start = replace(train(plain_network(), data, settings(), 2), train_energy_j=7.5, co2_g=0.25)
    fresh = plain_network()
    again = train(fresh, data, settings(), 2, start)
    assert again.curve == start.curve
    assert (again.train_energy_j, again.co2_g) == (7.5, 0.25)
    assert_equal_states(fresh.state_dict(), start.network_state)


def test_energy_figures_are_carried_along(data, settings, plain_network):
    start = replace(train(plain_network(), data, settings(), 1), train_energy_j=7.5, co2_g=0.25)
    later = train(plain_network(), data, settings(), 2, start)
    assert (later.train_energy_j, later.co2_g) == (7.5, 0.25)


def test_the_epoch_where_a_rung_began_is_kept_and_its_energy_left_to_who_measures(data, settings, plain_network):
    start = replace(train(plain_network(), data, settings(), 1), energy_j=3.0, trial_id=0)
    later = train(plain_network(), data, settings(), 3, start)
    assert (start.start_epoch, later.start_epoch) == (0, 1)
    assert (later.energy_j, later.trial_id) == (0.0, None)


def test_start_of_another_network_is_refused(data, settings, plain_network, ps_network):
    start = train(plain_network(), data, settings(), 1)
    with pytest.raises(TrialError, match="checkpoint of epoch 1 is of another training"):
        train(ps_network(), data, settings(), 2, start)


@pytest.mark.parametrize("n_epochs", [0, 1, 7])
def test_impossible_numbers_of_epochs_are_refused(data, settings, plain_network, n_epochs):
    start = train(plain_network(), data, settings(), 2)
    with pytest.raises(ValueError, match=f"n_epochs is {n_epochs}, expected 2 to 6"):
        train(plain_network(), data, settings(), n_epochs, start)
