import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.kernels.winograd import INPUT_TRANSFORM, OUTPUT_TRANSFORM, WEIGHT_TRANSFORM
from dsnn_hpo.operators import (
    Adder,
    AdderConv2d,
    AdderLinear,
    WinogradAdder,
    WinogradAdderConv2d,
    gaussian_to_laplacian,
)

profile = settings(derandomize=True, deadline=None, max_examples=30)
B, A, G = (torch.tensor(rows, dtype=torch.float64) for rows in (INPUT_TRANSFORM, OUTPUT_TRANSFORM, WEIGHT_TRANSFORM))


def of_tiles(x, weight, convolution, term):
    """The layer tile by tile, as the paper's formula says: A' [sum_c term(B' d B, u)] A."""
    mode = "constant" if convolution.padding_mode == "zeros" else convolution.padding_mode
    x = F.pad(x, tuple(convolution._reversed_padding_repeated_twice), mode=mode)
    height, width = x.shape[2] - 2, x.shape[3] - 2
    x = F.pad(x, (0, width % 2, 0, height % 2))
    weights = weight.unflatten(0, (convolution.groups, -1))[None]
    rows = []
    for i in range(0, height, 2):
        tiles = []
        for j in range(0, width, 2):
            tile = B @ x[:, :, i : i + 4, j : j + 4] @ B.T
            sums = term(tile.unflatten(1, (convolution.groups, -1))[:, :, None], weights).sum(3).flatten(1, 2)
            tiles.append(A @ sums @ A.T)
        rows.append(torch.cat(tiles, dim=-1))
    return torch.cat(rows, dim=-2)[:, :, :height, :width]


@st.composite
def convolutions(draw):
    groups = draw(st.integers(1, 3))
    return nn.Conv2d(
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 2)),
        3,
        padding=draw(st.sampled_from([0, 1, 2, (0, 1), "same", "valid"])),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "zeros", "circular"])),
        dtype=torch.float64,
    )


def test_with_products_the_transforms_compute_a_convolution():
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 4, 3, padding=1, bias=False, dtype=torch.float64)
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    weight = G @ convolution.weight @ G.T
    torch.testing.assert_close(of_tiles(x, weight, convolution, torch.mul), convolution(x))


def test_each_output_adds_five_sums_and_subtracts_four():
    for first, second in itertools.product(A, A):
        signs = torch.outer(first, second)
        assert ((signs == 1).sum(), (signs == -1).sum(), (signs == 0).sum()) == (5, 4, 7)


@profile
@given(convolutions(), st.integers(0, 2**31), st.integers(2, 7), st.integers(2, 7), st.sampled_from([0.0, 0.2, 0.5]))
def test_a_layer_sums_distances_of_tiles(convolution, seed, height, width, progress):
    torch.manual_seed(seed)
    x = torch.randn(2, convolution.in_channels, height, width, dtype=torch.float64)
    layer = WinogradAdderConv2d(convolution, Adder(annealing="l2_to_l1"))
    layer.set_progress_(progress)
    reach = 2 - 2 * sum(convolution._reversed_padding_repeated_twice[:1])
    if min(height, width) <= reach:
        with pytest.raises(ValueError, match="too small"):
            layer(x)
        return
    expected = of_tiles(x, layer.weight, convolution, lambda v, u: -((v - u).abs() ** (2 - 2 * progress)))
    if convolution.bias is not None:
        expected = expected + convolution.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)


@profile
@given(convolutions(), st.integers(0, 2**31))
def test_gradients_are_those_of_the_distances_through_the_transforms(convolution, seed):
    torch.manual_seed(seed)
    x = torch.randn(2, convolution.in_channels, 6, 5, dtype=torch.float64, requires_grad=True)
    layer = WinogradAdderConv2d(convolution, Adder(eta=0.4))
    y = layer(x)
    upstream = torch.randn_like(y)
    y.backward(upstream)
    # As for adder layers: the rules are the derivatives of -(v - u)**2 / 2 for u, of Huber's function for v.
    weight = layer.weight.detach().requires_grad_()
    squares = of_tiles(x.detach(), weight, convolution, lambda v, u: -((v - u) ** 2) / 2)
    (grad_weight,) = torch.autograd.grad(squares, weight, upstream)
    scale = 0.4 / 20 * weight.numel() ** 0.5 / grad_weight.norm()
    torch.testing.assert_close(layer.weight.grad, grad_weight * scale)

    def huber(v, u):
        return -F.huber_loss(*torch.broadcast_tensors(v, u.detach()), reduction="none")

    (grad_x,) = torch.autograd.grad(of_tiles(x, layer.weight, convolution, huber), x, upstream)
    torch.testing.assert_close(x.grad, grad_x)


def test_a_trained_weight_is_remapped_and_transformed():
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, groups=2, dtype=torch.float64)
    layer = WinogradAdderConv2d(convolution, Adder(), from_trained=True)
    assert layer.weight.shape == (6, 2, 4, 4)
    torch.testing.assert_close(layer.weight.detach(), G @ gaussian_to_laplacian(convolution.weight.detach()) @ G.T)
    assert layer.bias is convolution.bias


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.Conv2d(2, 3, 3), WinogradAdderConv2d),
        (nn.Conv2d(2, 3, 3, stride=2), AdderConv2d),
        (nn.Conv2d(2, 3, 3, dilation=2), AdderConv2d),
        (nn.Conv2d(2, 3, (3, 1)), AdderConv2d),
        (nn.Conv2d(2, 3, 1), AdderConv2d),
        (nn.Linear(2, 3), AdderLinear),
    ],
)
def test_other_layers_become_adders(module, kind):
    layer = WinogradAdder(eta=0.3, annealing="l2_to_l1").layer(module, from_trained=False)
    assert type(layer) is kind
    assert layer.config == Adder(0.3, "l2_to_l1")


def test_wrong_settings_and_geometries_are_refused():
    with pytest.raises(ValueError, match="eta must be a finite number above 0, not -1"):
        WinogradAdder(eta=-1)
    with pytest.raises(ValueError, match=r"needs a 3x3 convolution of stride and dilation 1, not Conv2d\(2, 3"):
        WinogradAdderConv2d(nn.Conv2d(2, 3, 3, stride=2), Adder())
