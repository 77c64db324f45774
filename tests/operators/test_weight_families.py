"""The weights of each family against its written formula, in float64, values and gradient rules."""

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dsnn_hpo.operators import (
    ShiftConfig,
    ShiftConv2d,
    ShiftLinear,
    packed_size_bytes,
    parameter_groups,
    regularization,
)
from dsnn_hpo.operators._schemes import FAMILIES

profile = settings(derandomize=True, deadline=None, max_examples=40)

FAMILY_BITS = [
    (name, bits) for name, f in FAMILIES.items() for bits in range(f.lowest_bits, min(f.highest_bits, 5) + 1)
]


def convolution(name, bits, *, seed=0, from_trained=False, dtype=torch.float64):
    torch.manual_seed(seed)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2).to(dtype)
    with torch.no_grad():
        layer.weight.mul_(2.0)
    return ShiftConv2d(layer, ShiftConfig(name, bits, 8, 8), from_trained=from_trained), layer


def spread(layer):
    """Gives the latent tensors values on both sides of every threshold."""
    with torch.no_grad():
        for parameter in layer.weight_parameters:
            parameter.copy_(torch.randn_like(parameter))
    return layer


def run_length(factors):
    """The number of positive factors at the end of each row, counted one by one."""
    rows = zip(*(factor.flatten().tolist() for factor in factors), strict=True)
    lengths = []
    for row in rows:
        length = 0
        for value in reversed(row):
            if value <= 0:
                break
            length += 1
        lengths.append(length)
    return torch.tensor(lengths, dtype=torch.float64).view_as(factors[0])


def factors_in(layer):
    return [layer.held[f"factor_{i + 1}"] for i in range(layer.scheme.n_factors)]


def by_surrogate(layer, grad):
    """Gradients of a value that is replaced by its surrogate, taken by autograd through identities for H and sgn."""
    through = lambda value, latent: value.detach() + latent - latent.detach()  # noqa: E731
    leaves = {name: p.detach().clone().requires_grad_() for name, p in layer.held.items() if p.requires_grad}
    k = torch.zeros_like(leaves["sign"])
    for i in range(layer.scheme.n_factors):
        t = leaves[f"factor_{i + 1}"]
        k = (k + 1) * through((t > 0).double(), t)
    sign = through(torch.where(leaves["sign"] >= 0, 1.0, -1.0).double(), leaves["sign"])
    if layer.config.shift_type == "dense":
        weight = sign * torch.sqrt(k + 1) * layer.scale
    else:
        gate = through((leaves["gate"] > 0).double(), leaves["gate"])
        weight = sign * gate * torch.exp(k * math.log(2.0)) * layer.scale
    (weight * grad).sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize(("name", "bits"), [(n, b) for n, b in FAMILY_BITS if n in ("dense", "s3")])
def test_latent_families_follow_their_formula_and_gradient_rule(name, bits):
    layer = spread(convolution(name, bits)[0])
    k = run_length(factors_in(layer)) if layer.scheme.n_factors else torch.zeros_like(layer.sign)
    expected = torch.where(layer.sign < 0, -1.0, 1.0) * 2.0**k * layer.scale
    if name == "s3":
        expected = expected * (layer.gate > 0)
    weight = layer.quantized_weight()
    assert torch.equal(weight, expected)
    grad = torch.randn_like(weight)
    weight.backward(grad)
    for parameter, wanted in by_surrogate(layer, grad).items():
        torch.testing.assert_close(getattr(layer, parameter).grad, wanted)


def test_three_bits_are_the_published_codes():
    dense, s3 = (spread(convolution(name, 3)[0]) for name in ("dense", "s3"))
    dense.scale.fill_(1.0)
    s3.scale.fill_(1.0)
    assert set(dense.quantized_weight().abs().unique().tolist()) == {1, 2, 4, 8}
    assert set(s3.quantized_weight().abs().unique().tolist()) == {0, 1, 2, 4}
    t1, t2 = factors_in(s3)
    published = 2.0 ** ((t2 > 0).double() * ((t1 > 0).double() + 1))
    assert torch.equal(s3.quantized_weight().abs(), published * (s3.gate > 0))


@profile
@given(bits=st.integers(2, 8), values=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=20))
def test_two_terms_are_the_nearest_codes_of_the_weight_and_of_the_rest(bits, values):
    layer = nn.Linear(len(values), 1, bias=False).double()
    layer.weight.data.copy_(torch.tensor([values]))
    shift = ShiftLinear(layer, ShiftConfig("two_term", bits))
    lowest = -(2 ** (bits - 1) - 1)
    for value, got in zip(values, shift.quantized_weight()[0].tolist(), strict=True):
        w = min(max(value, -1.0), 1.0)
        first = math.copysign(2.0 ** min(max(round(math.log2(abs(w) or 1e-300)), lowest), 0), w if w else 1.0)
        rest = w - first
        second = 0.0
        if abs(rest) >= 2.0 ** (lowest - 1):
            second = math.copysign(2.0 ** min(max(round(math.log2(abs(rest))), lowest), 0), rest)
        assert got == first + second
        assert abs(second) <= min(abs(first), 0.5)


@pytest.mark.parametrize("mode", [True, False])
def test_two_terms_pass_the_gradient_straight_through(mode):
    layer = convolution("two_term", 3)[0].train(mode)
    weight = layer.quantized_weight()
    grad = torch.randn_like(weight)
    weight.backward(grad)
    assert torch.equal(layer.weight.grad, grad)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_fixed_weights_are_codes_that_training_never_touches(bits):
    layer = convolution("fixed", bits)[0]
    lowest = -(2 ** (bits - 1) - 2)
    allowed = {0.0, *(2.0**p for p in range(lowest, 1))}
    assert set(layer.quantized_weight().abs().unique().tolist()) <= allowed
    assert [name for name, _ in layer.named_parameters()] == ["bias"]
    assert "weight" in layer.state_dict()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_fixed_weights_from_a_trained_layer_are_the_nearest_powers():
    layer = nn.Linear(7, 1, bias=False)
    layer.weight.data.copy_(torch.tensor([[0.0, 0.74, 0.76, -0.37, 0.01, 3.0, 0.124]]))
    weight = ShiftLinear(layer, ShiftConfig("fixed", 3), from_trained=True).quantized_weight()
    assert weight.tolist() == [[0.0, 0.5, 1.0, -0.25, 0.0, 1.0, 0.0]]


@pytest.mark.parametrize(("name", "bits"), FAMILY_BITS)
def test_a_layer_whose_weight_is_already_a_code_keeps_its_function(name, bits):
    plain = nn.Conv2d(2, 6, 3, padding=1).double()
    codes, _ = convolution(name, bits)
    source = spread(codes).quantized_weight().detach() if name != "fixed" else codes.quantized_weight()
    if name in ("dense", "s3"):
        # The largest code tells the scale.
        source = source.clone()
        source.view(-1)[0] = 2.0**codes.scheme.n_factors * codes.scale
    plain.weight = nn.Parameter(source.clone())
    shift = ShiftConv2d(plain, ShiftConfig(name, bits, 8, 30), from_trained=True).eval()
    torch.testing.assert_close(shift.quantized_weight(), plain.weight, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "bits"), FAMILY_BITS)
@pytest.mark.parametrize("from_trained", [False, True])
def test_weights_start_at_the_scale_of_the_float_layer(name, bits, from_trained):
    if name == "PS" or (name == "fixed" and not from_trained):
        pytest.skip("drawn as published, whatever the float layer's scale")
    if bits < 4 and name in ("Q", "two_term", "fixed"):
        pytest.skip("no code is as small as these weights")
    torch.manual_seed(0)
    plain = nn.Conv2d(16, 32, 3)
    shift = ShiftConv2d(plain, ShiftConfig(name, bits), from_trained=from_trained)
    ratio = shift.quantized_weight().square().mean().sqrt() / plain.weight.square().mean().sqrt()
    assert 0.4 < ratio < 2.5


@pytest.mark.parametrize(("name", "bits"), FAMILY_BITS)
def test_copies_and_saved_layers_compute_the_same(name, bits):
    layer = convolution(name, bits, dtype=torch.float32)[0].eval()
    x = torch.randn(2, 4, 7, 5)
    expected = layer(x)
    stream = io.BytesIO()
    torch.save(layer.state_dict(), stream)
    other = convolution(name, bits, seed=1, dtype=torch.float32)[0].eval()
    other(x)
    other.load_state_dict(torch.load(io.BytesIO(stream.getvalue())))
    for copied in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301
        assert torch.equal(copied(x), expected)


@pytest.mark.parametrize(("name", "bits"), FAMILY_BITS)
def test_packed_sizes_are_those_of_the_codes(name, bits):
    layer, _ = convolution(name, bits)
    n_weights = 6 * 2 * 3 * 3
    code_bits = 2 * bits if name == "two_term" else bits
    assert packed_size_bytes(layer) == (n_weights * code_bits + 7) // 8 + 6 * 2


@pytest.mark.parametrize(("name", "bits"), [(n, b) for n, b in FAMILY_BITS if b in (2, 4)])
def test_layers_learn_a_teacher(name, bits):
    torch.manual_seed(1)
    layer, _ = convolution(name, bits, dtype=torch.float32)
    network = nn.Sequential(layer, nn.BatchNorm2d(6), nn.Flatten(), nn.LazyLinear(1))
    x = torch.randn(64, 4, 6, 6)
    target = x[:, :, ::2, 1::2].mean((1, 2, 3), keepdim=True).flatten(1) * 4
    network(x)
    steps = torch.optim.Adam(parameter_groups(network, 0.0), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (network(x) - target).square().mean() + regularization(network, 0.0)
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_s3_pays_for_closed_gates():
    layer = spread(convolution("s3", 3)[0])
    expected = 1e-5 * torch.relu(-layer.gate).sum()
    torch.testing.assert_close(regularization(layer, 0.3), expected)


@pytest.mark.parametrize(("name", "bits"), [("dense", 6), ("s3", 6), ("two_term", 9), ("fixed", 1)])
def test_bits_that_a_family_lacks_are_refused(name, bits):
    with pytest.raises(
        ValueError, match=f"weight_bits must be an integer from .* with shift_type '{name}', not {bits}"
    ):
        ShiftConfig(name, bits)


@pytest.mark.parametrize("name", ["dense", "s3", "fixed"])
def test_few_rows_read_the_packed_weight_of_every_family_of_signed_powers(name, monkeypatch):
    torch.manual_seed(0)
    layer = ShiftLinear(nn.Linear(512, 256), ShiftConfig(name, 3, 8, 8)).eval()
    x = torch.randn(2, 512)
    with torch.no_grad():
        fast = layer(x)
        monkeypatch.setattr(ShiftLinear, "_prefers_packed", lambda *_: False)
        torch.testing.assert_close(fast, layer(x), rtol=1e-5, atol=1e-5)
