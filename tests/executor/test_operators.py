"""Networks of every operator: frozen they run on integers, the same bits everywhere, close to the float network."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from dsnn_hpo.errors import FreezeError
from dsnn_hpo.executor import freeze
from dsnn_hpo.executor._layers import CONVOLUTIONS, LINEAR_LAYERS
from dsnn_hpo.kernels import PackedWeight
from dsnn_hpo.kernels.plan import Convolve, ShiftChannels
from dsnn_hpo.kernels.plan_weight import DenseWeight, WinogradWeight
from dsnn_hpo.operators import (
    OPERATORS,
    Adder,
    AdderConv2d,
    AdderLinear,
    MinConv,
    PointwiseDepthwise,
    ShiftAdd,
    ShiftConfig,
    ShiftConv,
    SpatialShift,
    WinogradAdder,
    convert_,
    keep_first,
    keep_last,
    matching,
    operator,
)

SHAPE = (3, 11, 10)


def body():
    """Returns convolutions with stride, padding, odd groups, one channel a group, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1, bias=False),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.Conv2d(10, 18, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(18),
        nn.ReLU(),
        nn.Conv2d(18, 18, 3, padding=1, groups=3),
        nn.BatchNorm2d(18),
        nn.ReLU(),
        nn.Conv2d(18, 20, 3, padding=1),
        nn.BatchNorm2d(20),
        nn.ReLU(),
        nn.Conv2d(20, 20, 3, padding=1, groups=20, bias=False),
        nn.BatchNorm2d(20),
        nn.ReLU(),
        nn.Conv2d(20, 16, (3, 1), stride=(1, 2), padding=(2, 0), dilation=(2, 1)),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 6 * 3, 24, bias=False),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Linear(24, 5),
    )


class Residual(nn.Module):
    """Sums of what operators give, a concatenation, and a pooling, around operators."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 9, 3, padding=1)
        self.conv1 = nn.Conv2d(9, 9, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(9)
        self.conv2 = nn.Conv2d(9, 9, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(9)
        self.conv3 = nn.Conv2d(18, 12, 1, stride=2)
        self.norm3 = nn.BatchNorm2d(12)
        self.last = nn.Linear(12, 4)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        y = torch.relu(self.norm1(self.conv1(x)))
        y = torch.relu(self.norm2(self.conv2(y)) + x)
        y = torch.cat([y, x], 1)
        y = torch.relu(self.norm3(self.conv3(y)))
        return self.last(y.mean((2, 3)))


NETWORKS = {"body": body, "residual": Residual}
CHOICES = {name: operator(name, ShiftConfig(weight_bits=4)) for name in OPERATORS if name != "conv"} | {
    "shift_q, 5 bits": ShiftConfig(weight_bits=5),
    "dense_shift, 5 bits": ShiftConfig(shift_type="dense", weight_bits=5),
    "s3, 5 bits": ShiftConfig(shift_type="s3", weight_bits=5),
    "two_term, 3 bits": ShiftConfig(shift_type="two_term", weight_bits=3),
    "two_term, 5 bits": ShiftConfig(shift_type="two_term", weight_bits=5),
    "two_term, 6 bits": ShiftConfig(shift_type="two_term", weight_bits=6),
    "fixed_shift, 5 bits": ShiftConfig(shift_type="fixed", weight_bits=5),
    "shift_add of Q, activations of 8 bits": ShiftAdd(
        ShiftConfig(activation_integer_bits=4, activation_fraction_bits=4), Adder()
    ),
    "spatial_shift and adder": SpatialShift(pointwise=Adder()),
    "shift_conv and shifts": ShiftConv(pointwise=ShiftConfig()),
    "pdp of minima": PointwiseDepthwise(inner=MinConv()),
    "pdp of Winograd adders": PointwiseDepthwise(inner=WinogradAdder()),
}


def samples(n=96, seed=3):
    torch.manual_seed(seed)
    return torch.randn(n, *SHAPE)


def network(make, choice, x):
    """Returns a network with its inner layers converted, and statistics in its normalisation."""
    torch.manual_seed(0)
    model = make()
    model = convert_(model, keep_first(keep_last(matching("*", choice), model), model), from_trained=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            module.momentum = None
        # Annealed ones have become l1 distances by the end of training.
        if hasattr(module, "set_progress_"):
            module.set_progress_(1.0)
    with torch.no_grad():
        model.train()(x)
    return model.eval()


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def noisy(model, x):
    """Returns the logits where each layer with weights takes its input with noise of a hundredth of its deviation."""

    def disturb(_module, inputs):
        (value,) = inputs
        return (value + 0.01 * value.std() * torch.randn_like(value),)

    layers = [module for module in model.modules() if isinstance(module, (*LINEAR_LAYERS, *CONVOLUTIONS))]
    hooks = [layer.register_forward_pre_hook(disturb) for layer in layers]
    with torch.no_grad():
        y = model(x)
    for hook in hooks:
        hook.remove()
    return y


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("make", NETWORKS)
def test_frozen_network(make, choice, same_everywhere):
    x = samples()
    model = network(NETWORKS[make], CHOICES[choice], x)
    executor = freeze(model, x)
    with torch.no_grad():
        expected = model(x)
    # 8 bits of a bell-shaped value are off by about 1 % of its deviation, those of a weight in the same units as much. The
    # network has random weights, so it tells itself what that does to its logits.
    assert relative_error(executor(x), expected) < 2 * relative_error(noisy(model, x), expected) + 0.005
    same_everywhere(executor, x[:5])


@pytest.mark.parametrize("choice", CHOICES)
def test_saved_reloaded_and_frozen_gives_the_same(choice):
    x = samples(16)
    model = network(body, CHOICES[choice], x)
    expected = freeze(model, x)(x)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = network(body, CHOICES[choice], samples(16, seed=5))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(freeze(other, x)(x), expected)
    assert torch.equal(freeze(copy.deepcopy(model), x)(x), expected)


def convolutions(executor):
    return [step for step in executor.plan.steps if isinstance(step, Convolve)]


@pytest.mark.parametrize(("bits", "kind"), [(3, DenseWeight), (5, PackedWeight)])
@pytest.mark.parametrize("groups", [1, 3, 12])
def test_two_terms_are_exact(bits, kind, groups, same_everywhere):
    torch.manual_seed(1)
    layer = ShiftConfig(shift_type="two_term", weight_bits=bits).layer(
        nn.Conv2d(12, 12, 3, groups=groups, bias=False), from_trained=True
    )
    with torch.no_grad():
        layer.weight.uniform_(-1, 1)
        layer.weight[0, 0, 0] = torch.tensor([1.0, 0.75, 2.0 ** (1 - 2 ** (bits - 1))])
    model = nn.Sequential(layer, nn.Flatten()).eval()
    x = torch.randn(8, 12, 5, 5)
    executor = freeze(model, x)
    same_everywhere(executor, x)
    made = convolutions(executor)[0]
    assert isinstance(made.weight, kind)
    # The sums of both terms of a quantised input are exact: only 8 bits of input and output are lost.
    assert relative_error(executor(x), model(x)) < 0.02
    if kind is DenseWeight and groups == 1:
        values = made.weight.integers().double() * 2.0 ** (1 - 2 ** (bits - 1))
        assert torch.equal(values, layer.quantized_weight().double())


def test_signed_powers_over_sixteen_exponents_keep_their_values():
    torch.manual_seed(2)
    for config in (ShiftConfig(weight_bits=5), ShiftConfig(shift_type="dense", weight_bits=5)):
        layer = config.layer(nn.Conv2d(4, 6, 3), from_trained=True)
        with torch.no_grad():
            weight = torch.exp2(torch.randint(-15, 1, layer.quantized_weight().shape).float())
        layer = config.layer(as_convolution(weight), from_trained=True)
        executor = freeze(nn.Sequential(layer, nn.Flatten()).eval(), torch.randn(4, 4, 5, 5))
        made = convolutions(executor)[0].weight
        assert isinstance(made, PackedWeight)
        assert torch.equal(made.unpack(), layer.quantized_weight())


def as_convolution(weight):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer.eval()


def test_each_operator_has_its_own_steps():
    x = samples(8)
    adders = [step.weight for step in convolutions(freeze(network(body, Adder(), x), x))]
    assert [type(weight).__name__ for weight in adders] == ["DenseWeight", *["AdderWeight"] * 6, "DenseWeight"]
    assert {weight.operation for weight in adders[1:-1]} == {"distance"}
    minima = [step.weight for step in convolutions(freeze(network(body, MinConv(), x), x))]
    assert {weight.operation for weight in minima[1:-1]} == {"minimum"}
    # 3x3 convolutions of stride 1 only.
    tiles = [step.weight for step in convolutions(freeze(network(body, WinogradAdder(), x), x))]
    assert [isinstance(weight, WinogradWeight) for weight in tiles] == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    moved = freeze(network(body, SpatialShift(), x), x)
    assert sum(isinstance(step, ShiftChannels) for step in moved.plan.steps) == 2
    text = freeze(network(body, SpatialShift(pointwise=Adder()), x), x).describe()
    assert " adder " in text
    assert " channel shift " in text
    assert " winograd adder " in freeze(network(body, WinogradAdder(), x), x).describe()


def test_weights_far_beyond_the_activations(same_everywhere):
    torch.manual_seed(4)
    layer = Adder().layer(nn.Conv2d(6, 9, 3, padding=1), from_trained=False)
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(0, 4, 9).view(-1, 1, 1, 1))
    norm = nn.BatchNorm2d(9)
    norm.momentum = None
    model = nn.Sequential(nn.ReLU(), layer, norm, nn.Flatten())
    x = torch.randn(32, 6, 7, 7)
    with torch.no_grad():
        model.double().train()(x.double())
    executor = freeze(model.eval().float(), x)
    same_everywhere(executor, x[:4])
    with torch.no_grad():
        expected = model.double()(x.double()).view(32, 9, 49)
    found = executor(x).view(32, 9, 49).double()
    for row in range(9):
        assert relative_error(found[:, row], expected[:, row]) < 0.05, row


def test_winograd_weights_far_beyond_the_activations_coarsen_them(same_everywhere):
    torch.manual_seed(7)
    layer = WinogradAdder().layer(nn.Conv2d(6, 9, 3, padding=1), from_trained=False)
    with torch.no_grad():
        layer.weight.mul_(100.0)
    model = nn.Sequential(layer, nn.BatchNorm2d(9, momentum=None), nn.Flatten())
    x = torch.randn(32, 6, 7, 7)
    with torch.no_grad():
        model.train()(x)
    executor = freeze(model.eval(), x)
    same_everywhere(executor, x[:4])
    # 16 bits hold a weight of some hundreds of units only in steps that are no finer than a 60th of one.
    assert executor.plan.activations[0].scale >= layer.weight.abs().max().item() / 2**15
    with torch.no_grad():
        assert relative_error(executor(x), model(x)) < 0.05


def test_a_linear_adder_on_the_input_itself(same_everywhere):
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), AdderLinear(nn.Linear(2 * 3 * 5, 7), Adder())).eval()
    x = torch.randn(40, 2, 3, 5)
    executor = freeze(model, x)
    same_everywhere(executor, x)
    with torch.no_grad():
        expected = model(x)
    assert (executor(x) - expected).std() < 0.02 * expected.std()


def test_means_of_adders_are_not_moved_by_rounding():
    torch.manual_seed(6)
    layer = Adder().layer(nn.Conv2d(16, 8, 3, padding=1), from_trained=False)
    # All weights are rounded up by a third of the step of 8 bits.
    step = 4 / 255
    with torch.no_grad():
        layer.weight.copy_((torch.round(layer.weight / step) - 1 / 3) * step)
    model = nn.Sequential(nn.ReLU(), layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x = torch.rand(64, 16, 6, 6) * 4
    with torch.no_grad():
        expected = model(x)
    assert (freeze(model, x)(x) - expected).mean().abs() < 0.05 * expected.std()


@pytest.mark.parametrize("choice", [Adder(annealing="l2_to_l1"), WinogradAdder(annealing="l2_to_l1")])
def test_an_adder_that_is_not_annealed_yet_is_refused(choice):
    x = samples(4)
    model = network(body, choice, x)
    for module in model.modules():
        if hasattr(module, "set_progress_"):
            module.set_progress_(0.25)
    with pytest.raises(FreezeError, match=r"module '3' \(AdderConv2d\) cannot be frozen: .* only the exponent 1"):
        freeze(model, x)


def test_circular_padding_is_refused():
    layer = AdderConv2d(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), Adder())
    with pytest.raises(FreezeError, match="padding_mode is 'circular', only 'zeros'"):
        freeze(nn.Sequential(layer, nn.Flatten()).eval(), samples(4))


def test_too_long_rows_are_refused():
    layer = AdderLinear(nn.Linear(2**16, 1), Adder())
    with pytest.raises(FreezeError, match="layer '1' has 65536 inputs an output; an adder layer has at most 65535"):
        freeze(nn.Sequential(nn.Flatten(), layer).eval(), torch.randn(2, 1, 256, 256))
