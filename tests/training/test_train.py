from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import dsnn_hpo.training
from dsnn_hpo.data import Samples
from dsnn_hpo.errors import DivergedError
from dsnn_hpo.operators import OperatorLayer, clamp_parameters_, parameter_groups, regularization
from dsnn_hpo.training import error_rate, train


class Spy(nn.Module):
    """A linear network that writes down what it is shown."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)
        self.batch_sizes, self.images, self.noise = [], [], []

    def forward(self, x):
        if self.training:
            self.batch_sizes.append(len(x))
            self.images.append(x.clone())
            self.noise.append(float(torch.rand(())))
        return self.linear(x.flatten(1))


def test_public_names_exist_and_are_sorted_out():
    public = {name for name in vars(dsnn_hpo.training) if not name.startswith("_")}
    assert set(dsnn_hpo.training.__all__) == public


def test_training_reaches_a_good_accuracy(data, settings, plain_network):
    checkpoint = train(plain_network(), data, settings(max_epochs=12), 12)
    assert checkpoint.epoch == 12
    assert [epoch.number for epoch in checkpoint.curve] == list(range(1, 13))
    assert checkpoint.curve[-1].validation_error < 0.15
    assert all(epoch.seconds > 0 for epoch in checkpoint.curve)


def test_a_shorter_training_is_a_prefix_of_the_longest(data, settings, network):
    short, whole = (train(network(), data, settings(), n) for n in (2, 4))
    for left, right in zip(short.curve, whole.curve[:2], strict=True):
        assert replace(left, seconds=0) == replace(right, seconds=0)


def test_another_seed_gives_another_training(data, settings, plain_network):
    first, other = (train(plain_network(), data, settings(seed=seed), 1) for seed in (1, 2))
    assert first.curve[0].train_loss != other.curve[0].train_loss


def test_a_last_batch_of_one_sample_is_left_out(data, settings):
    spy = Spy()
    train(spy, data, settings(), 1)
    assert spy.batch_sizes == [32] * 5
    rows = Samples(data.train.images[:34], data.train.labels[:34])
    spy = Spy()
    train(spy, replace(data, train=rows), settings(), 1)
    assert spy.batch_sizes == [32, 2]
    single = Samples(data.train.images[:1], data.train.labels[:1])
    spy = Spy()
    train(spy, replace(data, train=single), settings(), 1)
    assert spy.batch_sizes == [1]


def test_each_epoch_has_its_own_order_augmentation_and_noise(data, settings):
    spies = [Spy(), Spy(), Spy()]
    for spy, augmentation in zip(spies, ((), (), ("flip", "crop")), strict=True):
        train(spy, data, settings(augmentation=augmentation), 2)
    plain, again, augmented = spies
    assert len(set(plain.noise)) == 10
    assert plain.noise == again.noise
    assert not torch.equal(plain.images[0], plain.images[5])
    assert not torch.equal(plain.images[0], augmented.images[0])


def test_cosine_schedule_is_laid_over_the_maximal_fidelity(data, settings, monkeypatch):
    rates = []
    step = torch.optim.SGD.step

    def recording(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", recording)
    curve = train(Spy(), data, settings(lr=0.1, max_epochs=4), 2).curve
    expected = [0.05 * (1 + math.cos(math.pi * i / 20)) for i in range(10)]
    assert rates == pytest.approx(expected)
    assert [epoch.lr for epoch in curve] == pytest.approx([expected[0], expected[5]])
    rates.clear()
    train(Spy(), data, settings(lr=0.1, schedule="constant"), 1)
    assert rates == [0.1] * 5


class Paced(OperatorLayer):
    """A layer whose weight learns at a tenth of the pace, and that writes its progress down."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(10, 64))
        self.progress = []

    def forward(self, x):
        return functional.linear(x, self.weight)

    def lr_scales(self):
        return {self.weight: 0.1}

    def set_progress_(self, fraction):
        self.progress.append(fraction)


def test_layers_set_their_own_pace_and_learn_of_progress(data, settings):
    slow, plain = (nn.Sequential(nn.Flatten(), layer) for layer in (Paced(), nn.Linear(64, 10, bias=False)))
    nn.init.zeros_(plain[1].weight)
    checkpoint = train(slow, data, settings(optimizer="SGD", lr=1e-4, momentum=0.0, weight_decay=0.0, max_epochs=4), 2)
    train(plain, data, settings(optimizer="SGD", lr=1e-5, momentum=0.0, weight_decay=0.0, max_epochs=4), 2)
    torch.testing.assert_close(slow[1].weight, plain[1].weight)
    assert slow[1].progress == [1 / 4, 2 / 4]
    train(slow, data, settings(optimizer="SGD", lr=1e-4, momentum=0.0, weight_decay=0.0, max_epochs=4), 4, checkpoint)
    assert slow[1].progress == [1 / 4, 2 / 4, 3 / 4, 1]


def test_one_step_is_the_gradient_of_loss_and_regulariser(data, settings, ps_network):
    wd, lr = 0.01, 0.05
    network, expected = ps_network(), ps_network()
    for each in (network, expected):
        each[5].p = 0.0
    # One batch of all: its order does not matter to the mean.
    how = settings(momentum=0.0, weight_decay=wd, lr=lr, batch_size=161, schedule="constant")
    curve = train(network, data, how, 1).curve

    expected.train()
    cross_entropy = nn.functional.cross_entropy(
        expected((data.train.images / 255 - data.mean) / data.std), data.train.labels
    )
    penalty = regularization(expected, wd)
    assert penalty.item() > 0
    (cross_entropy + penalty).backward()
    assert curve[0].train_loss == pytest.approx(cross_entropy.item(), rel=1e-5)
    with torch.no_grad():
        for group in parameter_groups(expected, wd):
            for parameter in group["params"]:
                parameter -= lr * (parameter.grad + group["weight_decay"] * parameter)
    clamp_parameters_(expected)
    for (name, ours), theirs in zip(network.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5), name


def test_the_regulariser_of_the_shifts_takes_part(data, settings, ps_network):
    weak, strong = (train(ps_network(), data, settings(weight_decay=wd), 1) for wd in (0.0, 1e-2))
    key = "0.shift"
    assert not torch.equal(weak.network_state[key], strong.network_state[key])
    assert float(strong.network_state[key].mean()) < float(weak.network_state[key].mean())


def test_shifts_stay_in_the_range_of_their_codes(data, settings, ps_network):
    checkpoint = train(ps_network(), data, settings(lr=0.5, momentum=0.0), 2)
    shift = checkpoint.network_state["0.shift"]
    assert float(shift.min()) >= -6
    assert float(shift.max()) <= 0


class Diverging(Spy):
    def __init__(self, at_step, value):
        super().__init__()
        self.at_step, self.value = at_step, value

    def forward(self, x):
        logits = super().forward(x)
        return logits * self.value if len(self.batch_sizes) == self.at_step else logits


@pytest.mark.parametrize(("value", "shown"), [(math.nan, "nan"), (math.inf, "nan|inf")])
def test_divergence_names_epoch_and_step(data, settings, value, shown):
    with pytest.raises(DivergedError, match=rf"became ({shown}) in epoch 2, step 3"):
        train(Diverging(8, value), data, settings(), 4)


def test_enormous_learning_rate_diverges(data, settings, plain_network):
    with pytest.raises(DivergedError, match="epoch 1"):
        train(plain_network(), data, settings(lr=1e38), 2)


def test_divergence_by_the_last_step_of_an_epoch_is_noticed(data, settings):
    class Last(Spy):
        def forward(self, x):
            return super().forward(x) if self.training else super().forward(x) * math.nan

    with pytest.raises(DivergedError, match=r"after epoch 1, step 5: an output .* NaN"):
        train(Last(), data, settings(), 1)


def test_error_rate_is_the_share_of_wrong_answers(data):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            assert not self.training
            return nn.functional.one_hot(torch.full((len(x),), 3), 10) * self.scale

    network = Constant().train()
    expected = float(np.mean(data.test.labels.numpy() != 3))
    for batch_size in (1, 7, 1000):
        assert error_rate(network, data.test, data, batch_size) == pytest.approx(expected)
    assert network.training
    with pytest.raises(ValueError, match="at least one sample"):
        error_rate(network, Samples(data.test.images[:0], data.test.labels[:0]), data, 8)


def test_checkpoint_does_not_share_the_networks_memory(data, settings, plain_network):
    network = plain_network()
    checkpoint = train(network, data, settings(), 1)
    before = checkpoint.network_state["0.weight"].clone()
    with torch.no_grad():
        network[0].weight.zero_()
    assert torch.equal(checkpoint.network_state["0.weight"], before)
