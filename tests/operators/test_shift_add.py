import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from dsnn_hpo.operators import (
    Adder,
    AdderConv2d,
    AdderLinear,
    ShiftAdd,
    ShiftAddConv2d,
    ShiftAddLinear,
    ShiftConfig,
    ShiftConv2d,
    ShiftLinear,
    operator,
)

profile = settings(
    derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PS = ShiftAdd(ShiftConfig("PS", 4))


@profile
@given(st.data(), st.integers(0, 2**31))
def test_a_pair_sums_shifts_and_then_distances(convolutions, sum_of_terms, data, seed):
    torch.manual_seed(seed)
    convolution = data.draw(convolutions)
    layer = ShiftAddConv2d(convolution, PS)
    x = torch.randn(2, convolution.in_channels, 7, 6, dtype=torch.float64)
    fixed = (x * 2**16).floor() / 2**16
    shifted = sum_of_terms(fixed, layer.shift.quantized_weight(), convolution, torch.mul)
    n, kernel = convolution.out_channels, convolution.kernel_size
    square = nn.Conv2d(n, n, kernel, padding="same", groups=convolution.groups, dtype=torch.float64)
    expected = sum_of_terms(shifted, layer.add.weight, square, lambda x, w: -(x - w).abs())
    if convolution.bias is not None:
        expected = expected + convolution.bias[:, None, None]
    y = layer(x)
    assert y.shape == convolution(x).shape
    torch.testing.assert_close(y, expected)


def test_gradients_are_those_of_the_two_layers():
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, dtype=torch.float64)
    layer = ShiftAddConv2d(convolution, PS)
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    layer(x).backward(upstream)
    between = layer.shift(x).detach().requires_grad_()
    found = {name: p.grad.clone() for name, p in layer.named_parameters()}
    grad_x = x.grad.clone()
    layer.zero_grad()
    x.grad = None
    layer.add(between).backward(upstream)
    layer.shift(x).backward(between.grad)
    assert torch.equal(x.grad, grad_x)
    assert set(found) == {"shift.shift", "shift.sign", "add.weight", "add.bias"}
    for name, parameter in layer.named_parameters():
        assert torch.equal(parameter.grad, found[name])


@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_becomes_a_pair_too(bias):
    torch.manual_seed(0)
    linear = nn.Linear(5, 3, bias=bias)
    layer = PS.layer(linear, from_trained=False)
    assert type(layer) is ShiftAddLinear
    assert (type(layer.shift), type(layer.add)) == (ShiftLinear, AdderLinear)
    assert layer.shift.bias is None
    assert layer.add.bias is linear.bias
    x = torch.randn(4, 5)
    shifted = ((x * 2**16).floor() / 2**16) @ layer.shift.quantized_weight().T
    expected = -(shifted[:, None] - layer.add.weight).abs().sum(-1)
    torch.testing.assert_close(layer(x), expected + linear.bias if bias else expected)


def test_the_adder_keeps_the_size_and_has_the_bias():
    convolution = nn.Conv2d(4, 6, 5, stride=2, padding=2, dilation=1, groups=2)
    layer = PS.layer(convolution, from_trained=False)
    assert type(layer) is ShiftAddConv2d
    assert (type(layer.shift), type(layer.add)) == (ShiftConv2d, AdderConv2d)
    assert layer.add.weight.shape == (6, 3, 5, 5)
    assert (layer.add.stride, layer.add.dilation, layer.add.groups) == ((1, 1), (1, 1), 2)
    assert layer.shift.bias is None
    assert layer.add.bias is convolution.bias
    assert layer(torch.randn(1, 4, 9, 12)).shape == (1, 6, 5, 6)


def test_trained_weights_and_fixed_ones_are_rounded_from_the_float_layer():
    torch.manual_seed(0)
    powers = torch.tensor([1.0, -0.5, 0.25, -0.125])
    linear = nn.Linear(4, 4, bias=False)
    linear.weight.data.copy_(torch.stack([powers.roll(i) for i in range(4)]))
    for config, from_trained in ((PS, True), (ShiftAdd(ShiftConfig("fixed", 5)), False)):
        layer = config.layer(linear, from_trained=from_trained)
        assert torch.equal(layer.shift.quantized_weight(), linear.weight)


def test_fixed_shifts_are_not_trained():
    pair = operator("fixed_shift_add", ShiftConfig("Q", 5))
    layer = pair.layer(nn.Conv2d(3, 4, 3), from_trained=False)
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"add.weight", "add.bias"}
    layer(torch.randn(2, 3, 6, 6)).sum().backward()


def test_names_make_the_published_pairs():
    shift = ShiftConfig("Q", 4, activation_fraction_bits=8)
    for name, shift_type in (("shift_add", "PS"), ("fixed_shift_add", "fixed")):
        expected = ShiftAdd(ShiftConfig(shift_type, 4, activation_fraction_bits=8), Adder(eta=0.1))
        assert operator(name, shift, eta=0.1) == expected
