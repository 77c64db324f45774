import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.operators import FixedPoint, ShiftConfig, ShiftConv2d, ShiftLinear

profile = settings(derandomize=True, deadline=None, max_examples=60)

FORMATS = st.builds(
    ShiftConfig,
    shift_type=st.sampled_from(["Q", "PS"]),
    weight_bits=st.integers(2, 8),
    activation_integer_bits=st.integers(1, 8),
    activation_fraction_bits=st.integers(1, 12),
    activation_rounding=st.sampled_from(["floor", "nearest"]),
)


def quantized_by_hand(layer):
    """The weight, from the parameters and the definition, in float64 and without the package's kernels."""
    bits = layer.config.weight_bits
    if layer.config.shift_type == "Q":
        weight = layer.weight.detach().double()
        exponent = weight.abs().log2().round().clamp(-(2 ** (bits - 1) - 1), 0)
        return torch.where(weight < 0, -1.0, 1.0) * 2.0**exponent
    exponent = layer.shift.detach().double().clamp(-(2 ** (bits - 1) - 2), 0).round()
    return layer.sign.detach().double().round().sign() * 2.0**exponent


def fixed_by_hand(x, config):
    step = 2.0**-config.activation_fraction_bits
    bound = 2.0 ** (config.activation_integer_bits - 1)
    scaled = x.detach().double() / step
    scaled = scaled.floor() if config.activation_rounding == "floor" else scaled.round()
    return (scaled * step).clamp(-bound, bound - step)


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 2), st.integers(1, 3))))
    dilation = draw(st.one_of(st.integers(1, 2), st.tuples(st.integers(1, 2), st.integers(1, 2))))
    paddings = [st.integers(0, 2), st.tuples(st.integers(0, 2), st.integers(0, 2)), st.just("valid")]
    if stride in (1, (1, 1)):
        paddings.append(st.just("same"))
    return nn.Conv2d(
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        kernel,
        stride=stride,
        padding=draw(st.one_of(paddings)),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    )


@profile
@given(st.integers(0, 2**31), st.data(), FORMATS)
def test_convolution_equals_the_float_one_of_hand_quantised_operands(seed, data, config):
    torch.manual_seed(seed)
    convolution = data.draw(convolutions())
    float_copy = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
        convolution.bias is not None,
        convolution.padding_mode,
        dtype=torch.float64,
    )
    layer = ShiftConv2d(convolution, config, from_trained=data.draw(st.booleans()))
    x = torch.randn(2, convolution.in_channels, data.draw(st.integers(5, 8)), data.draw(st.integers(5, 8))) * 2
    with torch.no_grad():
        float_copy.weight.copy_(quantized_by_hand(layer))
        if layer.bias is not None:
            float_copy.bias.copy_(fixed_by_hand(layer.bias, config))
        expected = float_copy(fixed_by_hand(x, config))
        for layer_in_mode in (layer.train(), layer.eval()):
            torch.testing.assert_close(layer_in_mode(x).double(), expected, rtol=1e-5, atol=1e-5)


@profile
@given(st.integers(0, 2**31), st.booleans(), st.booleans(), FORMATS)
def test_linear_equals_the_float_one_of_hand_quantised_operands(seed, bias, from_trained, config):
    torch.manual_seed(seed)
    layer = ShiftLinear(nn.Linear(5, 3, bias=bias), config, from_trained=from_trained)
    x = torch.randn(2, 4, 5) * 2
    expected_bias = fixed_by_hand(layer.bias, config) if bias else None
    expected = F.linear(fixed_by_hand(x, config), quantized_by_hand(layer), expected_bias)
    for layer_in_mode in (layer.train(), layer.eval()):
        torch.testing.assert_close(layer_in_mode(x).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("shift_type", ["Q", "PS"])
def test_gradients_of_a_layer_follow_the_written_rules(shift_type, mode):
    torch.manual_seed(0)
    layer = ShiftLinear(nn.Linear(4, 3), ShiftConfig(shift_type, 4, 8, 8)).train(mode)
    x = torch.randn(6, 4, requires_grad=True)
    upstream = torch.randn(6, 3)
    for _ in range(2):  # the second time with the remembered weight, where evaluating
        layer.zero_grad()
        x.grad = None
        layer(x).backward(upstream)
    weight = quantized_by_hand(layer).float()
    weight_grad = upstream.T @ fixed_by_hand(x, layer.config).float()
    torch.testing.assert_close(x.grad, upstream @ weight)
    torch.testing.assert_close(layer.bias.grad, upstream.sum(0))
    if shift_type == "Q":
        torch.testing.assert_close(layer.weight.grad, weight_grad)
    else:
        torch.testing.assert_close(layer.sign.grad, weight_grad)
        torch.testing.assert_close(layer.shift.grad, weight_grad * weight * math.log(2))


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
def test_stochastic_rounding_happens_while_training_only(shift_type):
    torch.manual_seed(0)
    config = ShiftConfig(shift_type, 4, 4, 2, rounding="stochastic")
    layer = ShiftConv2d(nn.Conv2d(3, 8, 3), config)
    x = torch.randn(2, 3, 6, 6)
    assert not torch.equal(layer(x), layer(x))
    assert not torch.equal(layer.quantized_weight(), layer.quantized_weight())
    assert not torch.equal(layer.fixed_point(x), layer.fixed_point(x))
    layer.eval()
    state = torch.get_rng_state()
    expected = F.conv2d(fixed_by_hand(x, config), quantized_by_hand(layer), fixed_by_hand(layer.bias, config))
    for _ in range(2):
        torch.testing.assert_close(layer(x).double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)


def test_q_keeps_the_float_layers_own_weight():
    convolution = nn.Conv2d(2, 3, 3)
    weight, bias = convolution.weight, convolution.bias
    layer = ShiftConv2d(convolution, ShiftConfig("Q"))
    assert layer.weight is weight
    assert layer.bias is bias


@pytest.mark.parametrize("bits", range(2, 9))
def test_ps_from_scratch_starts_within_the_range_of_its_own_bits(bits):
    torch.manual_seed(0)
    lowest = -(2 ** (bits - 1) - 2)
    config = ShiftConfig("PS", bits)
    for layer, published in (
        (ShiftLinear(nn.Linear(60, 60), config), (-14, 0)),
        (ShiftConv2d(nn.Conv2d(20, 20, 3), config), (-10, -1)),
    ):
        low, high = (min(max(end, lowest), 0) for end in published)
        assert low <= layer.shift.min().item() <= low + 0.1
        assert high - 0.1 <= layer.shift.max().item() <= high
        assert -1 <= layer.sign.min().item() < -0.9
        assert 0.9 < layer.sign.max().item() <= 1
        zeros = (layer.quantized_weight() == 0).double().mean().item()
        assert zeros == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("bits", range(2, 9))
def test_ps_from_trained_weights_decomposes_them(bits):
    lowest = -(2 ** (bits - 1) - 2)
    smallest = 2.0**lowest
    values = [0.7, -0.3, 0.0, smallest, -smallest * 0.51, smallest * 0.49, 3.0]
    linear = nn.Linear(len(values), 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([values]))
    layer = ShiftLinear(linear, ShiftConfig("PS", bits), from_trained=True)
    expected_shift = [max(math.log2(abs(v)), lowest) if v else lowest for v in values[:-1]] + [0.0]
    assert layer.shift.tolist()[0] == pytest.approx(expected_shift, abs=1e-5)
    expected_sign = [1.0, -1.0 if smallest / 2 <= 0.3 else 0.0, 0.0, 1.0, -1.0, 0.0, 1.0]
    assert layer.sign.tolist()[0] == expected_sign


def test_ps_from_trained_weights_gives_the_weights_of_q_where_both_have_the_code():
    torch.manual_seed(0)
    weight = nn.Linear(30, 30)
    q = ShiftLinear(weight, ShiftConfig("Q", 5)).quantized_weight()
    ps = ShiftLinear(weight, ShiftConfig("PS", 5), from_trained=True).quantized_weight()
    assert (q.abs() >= 2.0**-14).all()
    assert torch.equal(q, ps)


def test_layers_keep_trainability_device_and_dtype():
    linear = nn.Linear(3, 2, device="meta", dtype=torch.float64).requires_grad_(False)
    layer = ShiftLinear(linear, ShiftConfig("PS"))
    for parameter in layer.parameters():
        assert (parameter.device.type, parameter.dtype, parameter.requires_grad) == ("meta", torch.float64, False)


def test_repr_shows_the_formats():
    layer = ShiftConv2d(nn.Conv2d(2, 3, 3, stride=2), ShiftConfig("PS", 3, 4, 6, rounding="stochastic"))
    assert "3x2x3x3, PS, weight_bits=3, stride=(2, 2)" in repr(layer)
    assert "FixedPoint(4.6, floor, stochastic)" in repr(layer)


def test_fixed_point_module_rounds_stochastically_while_training_only():
    torch.manual_seed(0)
    module = FixedPoint(4, 1, "nearest", stochastic=True)
    x = torch.full((100,), 0.3)
    assert set(module(x).tolist()) == {0.0, 0.5}
    assert set(module.eval()(x).tolist()) == {0.5}
    assert set(FixedPoint(4, 1)(x).tolist()) == {0.0}
