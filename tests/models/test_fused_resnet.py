"""Residual networks round a block's output in one pass with its sum and ReLU: nothing but the time may change."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.kernels import Implementation, use_implementation
from dsnn_hpo.models import _resnet, build_model
from dsnn_hpo.operators import ShiftConfig, convert_, last_convolutions, matching, only


@pytest.fixture(autouse=True)
def _one_thread():
    # Two threads sum in another order from run to run.
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def step(network, x):
    torch.manual_seed(0)
    network.train()
    output = network(x)
    output.square().sum().backward()
    return [output.detach(), *(p.grad for p in network.parameters()), *network.buffers()]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shift_type", ["Q", "PS"])
@pytest.mark.parametrize(("name", "depth"), [("resnet20", 100), ("resnet20", 7), ("resnet18", 100), ("resnet18", 0)])
def test_values_and_gradients_are_those_of_single_operations(name, depth, shift_type, memory_format, monkeypatch):
    torch.manual_seed(0)
    # oneDNN in torch 2.13 writes beyond its memory for 1x1 convolutions of stride 2 and few channels in channels_last.
    network = build_model(name, (3, 8, 8), 10, {"width": 16, "depth": 2})
    config = ShiftConfig(shift_type, 5, 8, 4)
    convert_(network, only(last_convolutions(network, depth), config), from_trained=True)
    network.to(memory_format=memory_format)
    x = torch.randn(3, 3, 8, 8).to(memory_format=memory_format)
    fused = step(copy.deepcopy(network), x)
    monkeypatch.setattr(_resnet, "relu_then", lambda layer, y: layer(F.relu(y)))
    monkeypatch.setattr(_resnet.ResidualBlocks, "forward", nn.Sequential.forward)
    with use_implementation(Implementation.REFERENCE):
        plain = step(copy.deepcopy(network), x)
    for one, other in zip(fused, plain, strict=True):
        assert torch.equal(one, other)


def test_a_training_step_compiles_as_one_graph():
    network = build_model("resnet20", (3, 8, 8), 10, {"width": 2, "depth": 1})
    convert_(network, matching("*", ShiftConfig("PS", 4, 8, 8)), from_trained=False)
    x = torch.randn(2, 3, 8, 8)
    compiled = torch.compile(network.train(), fullgraph=True, backend="aot_eager")
    output = compiled(x)
    output.sum().backward()
    torch.testing.assert_close(output, network(x))
