"""Networks trained by the training loop keep their accuracy when they are frozen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dsnn_hpo.data import PreparedData, Samples, Split, load_dataset, prepare
from dsnn_hpo.executor import freeze
from dsnn_hpo.kernels import Implementation
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import ShiftConfig, convert_, matching
from dsnn_hpo.training import TrainingSettings, train

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def inputs(samples: Samples, data: PreparedData) -> Tensor:
    mean, std = data.mean.view(1, -1, 1, 1), data.std.view(1, -1, 1, 1)
    return (samples.images.float() / 255 - mean) / std


def accuracies(name, arguments, config, data, n_epochs, n_calibration=256):
    """Returns the test accuracies of the float evaluation and of the executor, which is the reference's."""
    torch.manual_seed(0)
    network = build_model(name, data.input_shape, data.n_classes, arguments)
    network = convert_(network, matching("*", config), from_trained=False)
    settings = TrainingSettings(
        optimizer="Adam", lr=3e-3, weight_decay=1e-5, batch_size=64, max_epochs=n_epochs, seed=0
    )
    train(network, data, settings, n_epochs)
    executor = freeze(network, inputs(data.train, data)[:n_calibration])
    x, labels = inputs(data.test, data), data.test.labels
    with torch.no_grad():
        expected = torch.cat([network(part) for part in torch.split(x, 256)])
    logits = executor(x)
    assert torch.equal(logits, executor.run(x, Implementation.REFERENCE))
    return tuple((y.argmax(1) == labels).double().mean().item() for y in (expected, logits))


@pytest.fixture(scope="module")
def digits():
    rows = np.random.default_rng(0).permutation(1797)
    return prepare(load_dataset("digits"), Split(rows[:900], rows[900:1000], rows[1000:], test_is_pool=True))


@pytest.mark.parametrize(
    ("name", "arguments", "config"),
    [
        ("mlp", {"width": 64}, ShiftConfig(weight_bits=4)),
        ("cnn", {}, ShiftConfig(shift_type="PS", weight_bits=3)),
        ("resnet20", {"width": 8, "depth": 1}, ShiftConfig(weight_bits=3)),
        ("resnet20", {"width": 8, "depth": 1}, ShiftConfig(activation_integer_bits=4, activation_fraction_bits=3)),
    ],
)
def test_the_accuracy_on_digits_stays_within_a_percent(name, arguments, config, digits):
    float_, integer = accuracies(name, arguments, config, digits, n_epochs=12)
    assert float_ > 0.85
    assert abs(integer - float_) < 0.01


@pytest.mark.slow
@pytest.mark.skipif(not FASHION_MNIST.exists(), reason="Fashion-MNIST is not installed")
def test_the_accuracy_of_resnet20_on_fashion_mnist_stays_within_a_percent():
    rows = np.random.default_rng(0).permutation(60000)
    data = prepare(
        load_dataset("fashion_mnist"), Split(rows[:6000], rows[6000:7000], np.arange(10000), test_is_pool=False)
    )
    config = ShiftConfig(weight_bits=4, activation_integer_bits=6, activation_fraction_bits=8)
    float_, integer = accuracies("resnet20", {}, config, data, n_epochs=2)
    assert float_ > 0.7
    assert abs(integer - float_) < 0.01
