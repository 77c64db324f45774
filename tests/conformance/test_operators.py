"""What every operator must do. A new operator is one line in ``operators.OPERATORS``; these tests then name it too."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from dsnn_hpo import operators
from dsnn_hpo.errors import DsnnHpoError
from dsnn_hpo.operators import OPERATORS, Operator, OperatorLayer, ShiftConfig, operator

SHIFT = ShiftConfig(weight_bits=4)
# "conv" is the choice of no operator at all.
NAMES = [name for name in OPERATORS if name != "conv"]

Make = Callable[[], nn.Conv2d]
CONVOLUTIONS: dict[str, Make] = {
    "3x3": lambda: nn.Conv2d(18, 8, 3, padding=1),
    "3x3 without padding": lambda: nn.Conv2d(18, 8, 3, bias=False),
    "3x3, stride 2": lambda: nn.Conv2d(18, 8, 3, stride=2, padding=1, bias=False),
    "3x3 of groups": lambda: nn.Conv2d(18, 8, 3, padding=1, groups=2),
    "3x3 of groups, stride 2": lambda: nn.Conv2d(18, 8, 3, stride=2, padding=1, groups=2),
    "3x3 depthwise": lambda: nn.Conv2d(6, 12, 3, padding=1, groups=6),
    "3x3 dilated": lambda: nn.Conv2d(18, 8, 3, padding="same", dilation=2),
    "3x3 around a ring": lambda: nn.Conv2d(18, 8, 3, padding=1, padding_mode="circular"),
    "5x5": lambda: nn.Conv2d(25, 9, 5, padding=2),
    "rectangular": lambda: nn.Conv2d(6, 8, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
    "pointwise": lambda: nn.Conv2d(6, 8, 1),
    "pointwise, stride 2": lambda: nn.Conv2d(6, 8, 1, stride=2, bias=False),
}
# What an operator leaves to float arithmetic, because it is not defined for it.
_GROUPED = {"3x3 of groups", "3x3 of groups, stride 2", "3x3 depthwise"}
_NO_MOVES = {"3x3 without padding", "3x3 around a ring", "rectangular", "pointwise", "pointwise, stride 2", "linear"}
LEFT_ALONE = {
    "spatial_shift": _GROUPED | _NO_MOVES,
    "shift_conv": _GROUPED | _NO_MOVES,
    "pdp": _GROUPED | {"pointwise", "pointwise, stride 2", "linear"},
}
PAIRS = {"shift_add", "fixed_shift_add"}
# Where pixels are left out between two operations, or an operation is another one with a stride.
STRIDES_ITS_OWN_WAY = {"winograd_adder", *PAIRS}
# What has more layers than the trained network, so that not all of it has a trained weight to start from.
DRAWN_IN_PART = {"shift_conv", *PAIRS}
# How close, by the correlation of outputs, a layer from a trained weight must come to the trained one, where its terms are
# not products of rounded weights: distances order the patches much as products do, and a filter may keep some places only.
LEAST_CORRELATION = {"adder": 0.6, "adder_annealed": 0.6, "winograd_adder": 0.4, "spatial_shift": 0.2, "pdp": 0.4}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def named(name: str, shift: ShiftConfig = SHIFT) -> Operator:
    chosen = operator(name, shift)
    assert chosen is not None
    return chosen


def replaced(name: str, module: nn.Linear | nn.Conv2d, *, from_trained: bool = False, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return named(name).layer(module, from_trained=from_trained)


def logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def assert_finite(layer: nn.Module, x: Tensor, below: float = 1e6) -> None:
    """Checks outputs and gradients of a layer in training, and that outputs are not larger than can be."""
    y = layer(x.requires_grad_())
    assert y.abs().max() < below
    y.square().mean().backward()
    for parameter_name, tensor in (("x", x), *layer.named_parameters()):
        assert torch.isfinite(tensor.grad).all(), parameter_name


def test_its_settings_are_a_value(name: str) -> None:
    chosen = named(name)
    assert chosen == named(name)
    assert hash(chosen) == hash(named(name))
    assert pickle.loads(pickle.dumps(chosen)) == chosen  # noqa: S301 - our own bytes
    assert eval(repr(chosen), vars(operators)) == chosen


@pytest.mark.parametrize("geometry", CONVOLUTIONS)
def test_a_convolution_is_replaced_by_one_of_its_geometry(name: str, geometry: str) -> None:
    torch.manual_seed(1)
    convolution = CONVOLUTIONS[geometry]()
    before = copy.deepcopy(convolution.state_dict())
    for from_trained in (False, True):
        layer = replaced(name, convolution, from_trained=from_trained)
        assert isinstance(layer, OperatorLayer) == (geometry not in LEFT_ALONE.get(name, set()))
        assert all(torch.equal(value, before[key]) for key, value in convolution.state_dict().items())
        for height, width in ((9, 8), (6, 7)):
            x = torch.randn(2, convolution.in_channels, height, width)
            assert_finite(layer, x)
            assert layer(x).shape == convolution(x).shape


@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_is_replaced(name: str, bias: bool) -> None:
    for from_trained in (False, True):
        layer = replaced(name, nn.Linear(12, 5, bias=bias), from_trained=from_trained)
        assert isinstance(layer, OperatorLayer) == ("linear" not in LEFT_ALONE.get(name, set()))
        for shape in ((12,), (4, 12), (2, 3, 12)):
            x = torch.randn(shape)
            assert_finite(layer, x)
            assert layer(x).shape == (*shape[:-1], 5)


def test_every_number_of_bits_computes(name: str) -> None:
    for weight_bits in range(2, 9):
        try:
            chosen = named(name, ShiftConfig(weight_bits=weight_bits))
        except ValueError as error:
            assert re.search(rf"weight_bits must be .*, not {weight_bits}$", str(error))  # noqa: PT017 - or none is raised
            continue
        for from_trained in (False, True):
            torch.manual_seed(0)
            layer = chosen.layer(nn.Conv2d(18, 8, 3, padding=1), from_trained=from_trained)
            assert_finite(layer, torch.randn(2, 18, 6, 6), below=1e5)


@pytest.mark.parametrize("value", [0.0, 1e-40, 1e-30, 1e3])
def test_a_weight_of_any_size_is_taken_over(name: str, value: float) -> None:
    for from_trained in (False, True):
        for module in (nn.Conv2d(9, 4, 3, padding=1), nn.Linear(6, 4)):
            nn.init.constant_(module.weight, value)
            x = torch.randn(2, 9, 5, 5) if isinstance(module, nn.Conv2d) else torch.randn(2, 6)
            assert_finite(replaced(name, module, from_trained=from_trained), x, below=1e6)


def test_a_layer_of_one_weight_is_like_others(name: str) -> None:
    for seed in range(10):
        assert_finite(replaced(name, nn.Linear(1, 1), seed=seed), torch.randn(4, 1), below=1e3)
        assert_finite(replaced(name, nn.Conv2d(1, 1, 1), seed=seed), torch.randn(4, 1, 3, 3), below=1e3)


def test_nothing_comes_of_nothing(name: str) -> None:
    for module, shape in ((nn.Conv2d(18, 8, 3, padding=1), (0, 18, 6, 6)), (nn.Linear(12, 5), (0, 12))):
        layer = replaced(name, module).eval()
        x = torch.randn(shape, requires_grad=True)
        y = layer(x)
        assert y.shape == module(x).shape
        y.sum().backward()
        assert x.grad is not None


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STRIDES_ITS_OWN_WAY])
def test_strides_leave_out_pixels(name: str) -> None:
    dense = nn.Conv2d(18, 8, 3, padding=1)
    strided = nn.Conv2d(18, 8, 3, stride=2, padding=1)
    strided.load_state_dict(dense.state_dict())
    x = torch.randn(2, 18, 7, 8)
    y, z = (logits(replaced(name, module, from_trained=True).eval(), x) for module in (dense, strided))
    torch.testing.assert_close(y[:, :, ::2, ::2], z, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("geometry", CONVOLUTIONS)
def test_gradients_reach_every_pixel_that_a_convolution_reads(name: str, geometry: str) -> None:
    def read(layer: nn.Module) -> Tensor:
        x = torch.randn(2, convolution.in_channels, 9, 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
        y = layer(x)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(3)))
        assert torch.isfinite(x.grad).all()
        return x.grad.ne(0).any(dim=1).any(dim=0)

    convolution = CONVOLUTIONS[geometry]()
    # In eval mode, where no batch normalisation inside a layer mixes all pixels.
    assert torch.equal(read(replaced(name, convolution).eval()), read(convolution))


@pytest.mark.parametrize("geometry", CONVOLUTIONS)
def test_a_pixel_changes_the_outputs_whose_windows_hold_it(name: str, geometry: str) -> None:
    def changed(layer: nn.Module) -> Tensor:
        difference = logits(layer, torch.cat([x, other])) - logits(layer, torch.cat([x, x]))
        return difference[1].abs().amax(dim=0) > 1e-4

    torch.manual_seed(4)
    convolution = CONVOLUTIONS[geometry]()
    x = torch.randn(1, convolution.in_channels, 9, 8)
    layer = replaced(name, convolution).eval()
    for pixel in ((0, 0), (3, 4), (8, 5)):
        other = x.clone()
        other[0, :, pixel[0], pixel[1]] += 1.0
        found, expected = changed(layer), changed(convolution)
        # The second layer of a pair has windows on those of the first; a ReLU inside a layer may hide a change.
        assert name == "shift_conv" or bool(found[expected].all()), pixel
        assert name in PAIRS or not bool(found[~expected].any()), pixel
        assert found.any() == expected.any(), pixel


# The second layer of a pair is surrounded by zeros always.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in PAIRS])
def test_a_ring_has_no_border(name: str) -> None:
    layer = replaced(name, CONVOLUTIONS["3x3 around a ring"]()).eval()
    x = torch.randn(1, 18, 6, 8)
    # By even numbers, as Winograd's tiles lie 2 apart.
    turned = logits(layer, x.roll((2, 4), dims=(2, 3)))
    torch.testing.assert_close(turned, logits(layer, x).roll((2, 4), dims=(2, 3)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("geometry", ["3x3 of groups", "3x3 of groups, stride 2", "3x3 depthwise"])
def test_groups_do_not_mix(name: str, geometry: str) -> None:
    convolution = CONVOLUTIONS[geometry]()
    layer = replaced(name, convolution).eval()
    n_in, n_out = (n // convolution.groups for n in (convolution.in_channels, convolution.out_channels))
    x = torch.randn(1, convolution.in_channels, 6, 6)
    changed = x.clone()
    changed[:, :n_in] = torch.randn(n_in, 6, 6)
    y, z = logits(layer, x), logits(layer, changed)
    assert not torch.equal(y[:, :n_out], z[:, :n_out])
    assert torch.equal(y[:, n_out:], z[:, n_out:])


def test_another_number_of_channels_is_refused(name: str) -> None:
    with pytest.raises((DsnnHpoError, RuntimeError, ValueError)):
        replaced(name, nn.Conv2d(18, 8, 3))(torch.randn(1, 9, 6, 6))
    with pytest.raises((DsnnHpoError, RuntimeError, ValueError)):
        replaced(name, nn.Linear(12, 5))(torch.randn(2, 6))


def test_what_is_not_trained_stays_so(name: str) -> None:
    for module in (nn.Conv2d(18, 8, 3, padding=1), nn.Linear(12, 5)):
        layer = replaced(name, module.requires_grad_(False))
        assert not any(p.requires_grad for p in layer.parameters())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DRAWN_IN_PART])
def test_a_trained_layer_is_taken_over_without_chance(name: str) -> None:
    for module in (nn.Conv2d(18, 8, 3, padding=1), nn.Linear(12, 5)):
        x = torch.randn(4, 18, 6, 6) if isinstance(module, nn.Conv2d) else torch.randn(4, 12)
        first, second = (replaced(name, module, from_trained=True, seed=seed).eval() for seed in (0, 1))
        assert torch.equal(logits(first, x), logits(second, x))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DRAWN_IN_PART])
def test_a_trained_layer_computes_much_of_the_same(name: str) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(18, 8, 3, padding=1)
    x = torch.randn(8, 18, 9, 9)
    layer = replaced(name, convolution, from_trained=True).eval()
    rows = [logits(module, x).transpose(0, 1).flatten(1) for module in (convolution, layer)]
    of_filters = [torch.corrcoef(torch.stack(pair))[0, 1].item() for pair in zip(*rows, strict=True)]
    assert sum(of_filters) / len(of_filters) > LEAST_CORRELATION.get(name, 0.9)
