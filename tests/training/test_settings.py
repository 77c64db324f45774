from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dsnn_hpo.errors import InputError
from dsnn_hpo.training import OPTIMIZERS, optimizer_family, train


def test_names_are_looked_up_whatever_their_case():
    for name, family in OPTIMIZERS.items():
        assert optimizer_family(name.lower()) is optimizer_family(name.upper()) is family
    with pytest.raises(InputError, match=r"'adm' \(did you mean 'Adam'"):
        optimizer_family("adm")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("SGD", "momentum", 0.7),
        ("RMSprop", "momentum", 0.7),
        ("Adam", "betas", (0.7, 0.999)),
        ("RAdam", "betas", (0.7, 0.999)),
        ("Ranger", "betas", (0.7, 0.999)),
    ],
)
def test_momentum_is_what_it_means_to_each(name, key, value):
    family = OPTIMIZERS[name]
    groups = [{"params": [nn.Parameter(torch.zeros(2))], "weight_decay": 0.0}]
    made = family.constructor(groups, lr=0.1, **family.arguments(0.7))
    assert made.param_groups[0][key] == value
    assert family.arguments(None) == {}


@pytest.mark.parametrize("name", ["Adadelta", "Adagrad"])
def test_momentum_does_not_matter_to_those_without(name, data, settings, plain_network):
    assert OPTIMIZERS[name].momentum is None
    losses = [
        train(plain_network(), data, settings(optimizer=name, momentum=m), 1).curve[0].train_loss
        for m in (None, 0.0, 0.9)
    ]
    assert len(set(losses)) == 1


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "RAdam", "Ranger"])
@pytest.mark.parametrize("change", [{"momentum": 0.3}, {"weight_decay": 0.1}, {"lr": 0.01}, {"batch_size": 16}])
def test_every_setting_changes_the_training(name, change, data, settings, plain_network):
    before = train(plain_network(), data, settings(optimizer=name, lr=0.003), 1)
    after = train(plain_network(), data, settings(**{"optimizer": name, "lr": 0.003, **change}), 1)
    assert not torch.equal(before.network_state["6.weight"], after.network_state["6.weight"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"optimizer": "sdg"}, "did you mean 'SGD'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"augmentation": ("crops",)}, "did you mean 'crop'"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": math.inf}, "lr is inf"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"test_batch_size": 0}, "test_batch_size is 0"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_mistakes_are_refused_when_made(settings, change, reason):
    with pytest.raises(InputError, match=reason):
        settings(**change)
