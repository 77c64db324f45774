import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.operators import MinConv, MinConv2d, MinLinear

profile = settings(
    derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def minimum(scale):
    return lambda x, w: x.sign() * w.sign() * torch.minimum((scale * x).abs(), w.abs())


def nearest_power(weight):
    return 2.0 ** weight.square().mean().sqrt().log2().round().item()


@profile
@given(st.data(), st.integers(0, 2**31), st.sampled_from([0.01, 0.3, 5.0]))
def test_a_convolution_sums_the_smaller_magnitudes(convolutions, sum_of_terms, data, seed, size):
    torch.manual_seed(seed)
    convolution = data.draw(convolutions)
    nn.init.normal_(convolution.weight, std=size)
    layer = MinConv2d(convolution)
    x = torch.randn(2, convolution.in_channels, 7, 6, dtype=torch.float64)
    expected = sum_of_terms(x, convolution.weight, convolution, minimum(nearest_power(convolution.weight)))
    if convolution.bias is not None:
        expected = expected + convolution.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)


@profile
@given(st.data(), st.integers(0, 2**31))
def test_gradients_are_those_of_the_float_convolution(convolutions, data, seed):
    torch.manual_seed(seed)
    convolution = data.draw(convolutions)
    layer = MinConv2d(copy.deepcopy(convolution))
    x = torch.randn(2, convolution.in_channels, 7, 6, dtype=torch.float64, requires_grad=True)
    same = x.detach().clone().requires_grad_()
    y, product = layer(x), convolution(same)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    product.backward(upstream)
    torch.testing.assert_close(x.grad, same.grad)
    torch.testing.assert_close(layer.weight.grad, convolution.weight.grad)
    if convolution.bias is not None:
        torch.testing.assert_close(layer.bias.grad, convolution.bias.grad)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
def test_a_linear_layer_does_the_same(bias, shape):
    torch.manual_seed(0)
    linear = nn.Linear(5, 4, bias=bias, dtype=torch.float64)
    layer = MinLinear(copy.deepcopy(linear))
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    terms = minimum(nearest_power(linear.weight))(x[..., None, :], linear.weight)
    torch.testing.assert_close(y, terms.sum(-1) + (linear.bias if bias else 0))
    upstream = torch.randn_like(y)
    y.backward(upstream)
    torch.testing.assert_close(x.grad, upstream @ linear.weight)
    expected = torch.autograd.grad(F.linear(x, linear.weight), linear.weight, upstream)[0]
    torch.testing.assert_close(layer.weight.grad, expected)


def test_magnitudes_that_are_alike_are_nearly_multiplied():
    torch.manual_seed(0)
    convolution = nn.Conv2d(16, 16, 3, bias=False)
    x = torch.randn(8, 16, 12, 12)
    exact, approximate = convolution(x).flatten(), MinConv2d(convolution)(x).flatten()
    assert torch.corrcoef(torch.stack([exact, approximate]))[0, 1] > 0.9


def test_the_float_layers_own_parameters_stay():
    for module in (nn.Conv2d(2, 3, 3), nn.Linear(2, 3)):
        for from_trained in (False, True):
            layer = MinConv().layer(module, from_trained=from_trained)
            assert layer.weight is module.weight
            assert layer.bias is module.bias


def test_a_weight_of_zeros_gives_zeros():
    layer = MinConv2d(nn.Conv2d(2, 3, 3, bias=False))
    nn.init.zeros_(layer.weight)
    assert torch.equal(layer(torch.randn(1, 2, 5, 5)), torch.zeros(1, 3, 3, 3))


def test_the_scale_follows_the_weight():
    layer = MinConv2d(nn.Conv2d(2, 3, 3))
    for size, scale in ((1.0, 1.0), (0.3, 0.25), (0.1, 0.125), (3.0, 4.0)):
        nn.init.constant_(layer.weight, size)
        assert layer.input_scale().item() == scale
