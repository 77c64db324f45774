"""Random small networks: compiled and reference agree bit by bit, whatever is put together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from dsnn_hpo.executor import freeze
from dsnn_hpo.operators import ShiftConfig, convert_, only

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


class Sum(nn.Module):
    """x + body(x)."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return x + self.body(x)


class Beside(nn.Module):
    """x and body(x), one behind the other."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return torch.cat([self.body(x), x], 1)


def activation(draw):
    return draw(st.sampled_from([[], [nn.ReLU()], [nn.ReLU6()], [nn.Hardtanh(-0.5, 1.5)]]))


@st.composite
def convolutions(draw, n_in, size, *, keeps_size=False, n_out=None):
    """Returns a convolution that fits, perhaps normalised and activated, and its number of channels."""
    kernel = tuple(draw(st.integers(1, min(3, side))) for side in size)
    groups = draw(st.sampled_from([g for g in (1, 2, 3, n_in) if n_in % g == 0]))
    if n_out is None:
        n_out = groups * draw(st.integers(1, max(1, 40 // groups)))
    elif n_out % groups:
        groups = 1
    if keeps_size:
        geometry = {"padding": "same", "dilation": draw(st.integers(1, 2))}
    else:
        geometry = {
            "stride": (draw(st.integers(1, 2)), draw(st.integers(1, 3))),
            "padding": tuple(draw(st.integers(0, 2)) for _ in size),
        }
    layers = [nn.Conv2d(n_in, n_out, kernel, groups=groups, bias=draw(st.booleans()), **geometry)]
    layers += [nn.BatchNorm2d(n_out)] if draw(st.booleans()) else []
    return nn.Sequential(*layers, *activation(draw)), n_out


@st.composite
def networks(draw):
    """Returns a network, and inputs of random size and scale."""
    shape = (draw(st.integers(1, 6)), draw(st.integers(2, 9)), draw(st.integers(2, 9)))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    x = torch.randn(draw(st.integers(2, 9)), *shape) * draw(st.sampled_from([1e-3, 1.0, 300.0]))
    x = x.abs() if draw(st.booleans()) else x
    layers, value, channels = [], x, shape[0]
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["conv", "sum", "cat", "max", "mean", "norm"]))
        size = tuple(value.shape[2:])
        if kind == "conv":
            layer, channels = draw(convolutions(channels, size))
        elif kind == "sum":
            body, _ = draw(convolutions(channels, size, keeps_size=True, n_out=channels))
            layer = nn.Sequential(Sum(body), *activation(draw))
        elif kind == "cat":
            body, n_more = draw(convolutions(channels, size, keeps_size=True))
            layer, channels = Beside(body), channels + n_more
        elif kind == "norm":
            layer = nn.Sequential(nn.BatchNorm2d(channels), *activation(draw))
        else:
            kernel = draw(st.integers(1, min(size)))
            options = {"padding": draw(st.integers(0, kernel // 2)), "ceil_mode": draw(st.booleans())}
            layer = (nn.MaxPool2d if kind == "max" else nn.AvgPool2d)(kernel, draw(st.integers(1, 2)), **options)
        layers.append(layer)
        with torch.no_grad():
            value = layer(value)
    head = [nn.AdaptiveAvgPool2d(draw(st.integers(1, 2)))] if draw(st.booleans()) else []
    with torch.no_grad():
        n_features = nn.Sequential(*head, nn.Flatten())(value).shape[1]
    return nn.Sequential(*layers, *head, nn.Flatten(), nn.Linear(n_features, draw(st.integers(2, 20)))), x


CONFIGS = st.builds(
    ShiftConfig,
    shift_type=st.sampled_from(["Q", "PS"]),
    weight_bits=st.integers(2, 6),
    activation_integer_bits=st.integers(2, 16),
    activation_fraction_bits=st.integers(1, 16),
    activation_rounding=st.sampled_from(["floor", "nearest"]),
)


def check(case, config, converted, same_everywhere):
    network, x = case
    chosen = converted * 8
    layers = iter(chosen)
    network = convert_(network, only(lambda *_: next(layers, True), config), from_trained=True)
    with torch.no_grad():
        network.train()(x)
    network.eval()
    logits = same_everywhere(freeze(network, x), x)
    assert torch.isfinite(logits).all()


quick = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CONVERTED = st.lists(st.booleans(), min_size=1, max_size=4)


@quick
@given(networks(), CONFIGS, CONVERTED)
def test_random_networks_run_the_same_everywhere(same_everywhere, case, config, converted):
    check(case, config, converted, same_everywhere)


@pytest.mark.slow
@settings(quick, max_examples=1500, derandomize=False)
@given(networks(), CONFIGS, CONVERTED)
def test_many_random_networks_run_the_same_everywhere(same_everywhere, case, config, converted):
    check(case, config, converted, same_everywhere)
