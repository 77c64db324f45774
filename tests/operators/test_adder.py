import copy
import io
import math
from statistics import NormalDist

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.operators import (
    Adder,
    AdderConv2d,
    AdderLinear,
    gaussian_to_laplacian,
    parameter_groups,
    set_progress_,
)

# The fixtures are functions without a state.
profile = settings(
    derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ANNEALED = Adder(annealing="l2_to_l1")


def distance(exponent):
    return lambda x, w: -((x - w).abs() ** exponent)


def of_length(gradient, eta):
    """The published scale of a weight's gradient, over the factor of the learning rate."""
    return gradient * eta / 20 * math.sqrt(gradient.numel()) / gradient.norm()


def with_bias(y, bias):
    return y if bias is None else y + bias.view(1, -1, 1, 1)


@profile
@given(st.data(), st.integers(0, 2**31), st.sampled_from([0.0, 0.2, 0.6]))
def test_a_convolution_sums_distances_at_every_exponent(convolutions, sum_of_terms, data, seed, progress):
    torch.manual_seed(seed)
    convolution = data.draw(convolutions)
    layer = AdderConv2d(convolution, ANNEALED)
    layer.set_progress_(progress)
    x = torch.randn(2, convolution.in_channels, 7, 6, dtype=torch.float64)
    exponent = max(2 - 2 * progress, 1)
    expected = with_bias(sum_of_terms(x, layer.weight, convolution, distance(exponent)), convolution.bias)
    torch.testing.assert_close(layer(x), expected)


@profile
@given(st.data(), st.integers(0, 2**31), st.sampled_from([0.2, 1.5]))
def test_gradients_of_a_convolution_follow_the_published_rules(convolutions, sum_of_terms, data, seed, eta):
    torch.manual_seed(seed)
    convolution = data.draw(convolutions)
    layer = AdderConv2d(convolution, Adder(eta))
    x = (torch.randn(2, convolution.in_channels, 7, 6, dtype=torch.float64) * 2).requires_grad_()
    y = layer(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    # The rules are the derivatives of other functions: of -(x - w)**2 / 2 for w, of Huber's for x.
    weight = layer.weight.detach().requires_grad_()
    squares = sum_of_terms(x.detach(), weight, convolution, lambda x, w: -((x - w) ** 2) / 2)
    (grad_weight,) = torch.autograd.grad(squares, weight, upstream)
    torch.testing.assert_close(layer.weight.grad, of_length(grad_weight, eta))

    def huber(x, w):
        return -F.huber_loss(*torch.broadcast_tensors(x, w.detach()), reduction="none")

    (grad_x,) = torch.autograd.grad(sum_of_terms(x, layer.weight, convolution, huber), x, upstream)
    torch.testing.assert_close(x.grad, grad_x)
    if convolution.bias is not None:
        torch.testing.assert_close(layer.bias.grad, upstream.sum((0, 2, 3)))


@pytest.mark.parametrize("progress", [0.0, 0.3])
def test_gradients_are_the_derivatives_while_the_exponent_is_above_1(progress, sum_of_terms):
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, dtype=torch.float64)
    layer = AdderConv2d(convolution, ANNEALED)
    layer.set_progress_(progress)
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    weight = layer.weight.detach().requires_grad_()
    expected = sum_of_terms(x, weight, convolution, distance(2 - 2 * progress))
    grad_x, grad_weight = torch.autograd.grad(expected, (x, weight), upstream)
    torch.testing.assert_close(x.grad, grad_x)
    torch.testing.assert_close(layer.weight.grad, of_length(grad_weight, 0.2))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
def test_a_linear_layer_sums_distances_by_the_same_rules(bias, shape):
    torch.manual_seed(0)
    layer = AdderLinear(nn.Linear(5, 4, bias=bias, dtype=torch.float64), Adder())
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    difference = x.detach()[..., None, :] - layer.weight.detach()
    torch.testing.assert_close(y, -difference.abs().sum(-1) + (layer.bias if bias else 0))
    upstream = torch.randn_like(y)
    y.backward(upstream)
    torch.testing.assert_close(x.grad, -(upstream[..., None] * difference.clamp(-1, 1)).sum(-2))
    if x.numel():
        grad_weight = (upstream[..., None] * difference).reshape(-1, 4, 5).sum(0)
        torch.testing.assert_close(layer.weight.grad, of_length(grad_weight, 0.2))


def test_a_gradient_of_zero_stays_zero():
    layer = AdderConv2d(nn.Conv2d(2, 3, 3), Adder())
    (layer(torch.randn(1, 2, 5, 5)) * 0).sum().backward()
    assert torch.equal(layer.weight.grad, torch.zeros_like(layer.weight))


def test_the_exponent_falls_to_1_over_the_first_half():
    layer = AdderConv2d(nn.Conv2d(2, 3, 3), ANNEALED)
    assert layer.current_exponent() == 2
    for progress, exponent in ((0.25, 1.5), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0), (0.0, 2.0)):
        set_progress_(nn.Sequential(layer), progress)
        assert layer.current_exponent() == exponent
    plain = AdderConv2d(nn.Conv2d(2, 3, 3), Adder())
    plain.set_progress_(0.1)
    assert plain.current_exponent() == 1


def test_the_exponent_is_saved_and_loaded():
    x = torch.randn(1, 2, 5, 5)
    layer, other = (AdderConv2d(nn.Conv2d(2, 3, 3), ANNEALED) for _ in range(2))
    layer.set_progress_(0.3)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.current_exponent() == pytest.approx(1.4)
    for same in (other, copy.deepcopy(layer)):
        assert torch.equal(same(x), layer(x))
    assert set(AdderConv2d(nn.Conv2d(2, 3, 3), Adder()).state_dict()) == {"weight", "bias"}


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=20))
def test_trained_weights_keep_their_quantiles_in_a_laplacian(values):
    weight = torch.tensor(values, dtype=torch.float64)
    mapped = gaussian_to_laplacian(weight)
    mean, deviation = weight.mean().item(), weight.std(correction=0).item()
    if deviation == 0:
        assert torch.equal(mapped, torch.zeros_like(weight))
        return
    for before, after in zip(values, mapped.tolist(), strict=True):
        quantile = NormalDist(mean, deviation).cdf(before)
        # The inverse of the Laplacian's distribution function; its scale is its deviation over sqrt(2).
        size = math.log(2 * min(quantile, 1 - quantile)) * 2 / math.sqrt(2)
        assert after == pytest.approx(size if quantile < 0.5 else -size, abs=1e-6)
    order = weight.argsort(stable=True)
    assert (mapped[order].diff() >= -1e-12).all()


def test_many_trained_weights_get_the_scale_of_an_adders_first_weights():
    torch.manual_seed(0)
    convolution = nn.Conv2d(32, 32, 3)
    nn.init.normal_(convolution.weight, 0.1, 0.02)
    for layer in (AdderConv2d(convolution, Adder(), from_trained=trained) for trained in (False, True)):
        assert layer.weight.std().item() == pytest.approx(2, rel=0.05)
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_a_weight_moves_at_the_published_pace(optimizer):
    torch.manual_seed(0)
    model = nn.Sequential(AdderConv2d(nn.Conv2d(2, 3, 3, bias=False), Adder()), nn.BatchNorm2d(3))
    own, rest = sorted(parameter_groups(model, 1e-4), key=lambda group: -group["lr_scale"])
    assert own["params"] == [model[0].weight]
    assert (own["weight_decay"], own["lr_scale"]) == (0, 20)
    assert (rest["weight_decay"], rest["lr_scale"]) == (1e-4, 1)
    before = model[0].weight.clone()
    model(torch.randn(4, 2, 6, 6)).square().sum().backward()
    optimizer([{"params": own["params"], "lr": 0.1 * own["lr_scale"]}]).step()
    moved = (model[0].weight - before).square().mean().sqrt().item()
    assert moved == pytest.approx({torch.optim.SGD: 0.1 * 0.2, torch.optim.Adam: 0.1 * 20}[optimizer], rel=0.01)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_order_of_memory_is_kept(memory_format):
    convolution = nn.Conv2d(4, 8, 3).to(memory_format=memory_format)
    layer = AdderConv2d(convolution, Adder())
    assert layer.weight.is_contiguous(memory_format=memory_format)
    assert layer(torch.randn(2, 4, 6, 6).contiguous(memory_format=memory_format)).is_contiguous(
        memory_format=memory_format
    )


def test_a_layer_says_what_it_is():
    assert repr(AdderConv2d(nn.Conv2d(2, 4, 3, padding=1), ANNEALED)) == (
        "AdderConv2d(4x2x3x3, eta=0.2, annealing=l2_to_l1, stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": 0}, "eta must be a finite number above 0, not 0"),
        ({"eta": math.nan}, "eta must be a finite number above 0, not nan"),
        ({"annealing": "l1_to_l2"}, "annealing must be 'none' or 'l2_to_l1', not 'l1_to_l2'"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Adder(**arguments)
