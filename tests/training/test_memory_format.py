from __future__ import annotations

import pytest
import torch
from torch import nn

from dsnn_hpo.models import build_model
from dsnn_hpo.operators import ShiftConfig, convert_, matching
from dsnn_hpo.training import error_rate, train
from dsnn_hpo.training._memory_format import memory_format_for


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: build_model("resnet20", (3, 32, 32), 10, {}), torch.channels_last),
        (lambda: build_model("resnet18", (3, 32, 32), 10, {"width": 16}), torch.channels_last),
        (lambda: build_model("resnet18", (3, 32, 32), 10, {"width": 8}), torch.contiguous_format),
        (lambda: build_model("mlp", (3, 32, 32), 10, {}), torch.contiguous_format),
    ],
)
@pytest.mark.parametrize("is_shift", [False, True])
def test_networks_of_convolutions_are_trained_channels_last(network, expected, is_shift):
    made = network()
    if is_shift:
        convert_(made, matching("*", ShiftConfig()), from_trained=False)
    assert memory_format_for(made) is expected


class Recording(nn.Module):
    """Writes down the order of its images and of its weight."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 4, 3)
        self.linear = nn.Linear(4, 10)
        self.seen = []

    def forward(self, x):
        hidden = torch.relu(self.convolution(x))
        of_weight = self.second.weight.is_contiguous(memory_format=torch.channels_last)
        self.seen.append((self.training, hidden.is_contiguous(memory_format=torch.channels_last), of_weight))
        return self.linear(self.second(hidden).mean((2, 3)))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_training_and_error_rate_are_channels_last_and_results_contiguous(optimizer, data, settings):
    network = Recording()
    checkpoint = train(network, data, settings(optimizer=optimizer, lr=0.01), 1)
    assert set(network.seen) == {(True, True, True), (False, True, True)}
    tensors = [*checkpoint.network_state.values(), *network.state_dict().values()]
    for states in checkpoint.optimizer_state["state"].values():
        tensors += [value for value in states.values() if isinstance(value, torch.Tensor)]
    assert len([t for t in tensors if t.dim() == 4]) > 4
    assert all(t.is_contiguous() for t in tensors)
    network.seen.clear()
    error_rate(network, data.test, data, 64)
    assert {hidden for _, hidden, _ in network.seen} == {True}


def test_the_network_is_contiguous_again_after_a_failure(data, settings):
    network = Recording()
    network.linear.register_forward_hook(lambda *_: torch.full((32, 10), torch.nan, requires_grad=True))
    with pytest.raises(Exception, match="training loss became nan"):
        train(network, data, settings(), 1)
    assert all(p.is_contiguous() for p in network.parameters())


def test_the_order_in_memory_does_not_change_what_is_learned(data, settings, network, monkeypatch):
    if any("stochastic" in repr(m) for m in network().modules()):
        pytest.skip("random numbers follow the order of memory")
    errors = []
    for memory_format in (torch.channels_last, torch.contiguous_format):
        monkeypatch.setattr("dsnn_hpo.training._train.memory_format_for", lambda _, chosen=memory_format: chosen)
        errors.append(train(network(), data, settings(), 1).curve[0].train_loss)
    assert errors[0] == pytest.approx(errors[1], rel=1e-2)
