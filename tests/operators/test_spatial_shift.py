import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.operators import (
    ShiftConfig,
    ShiftConv,
    ShiftConv2d,
    ShiftConvBlock,
    SpatialShift,
    SpatialShift2d,
    SpatialShiftConv2d,
)

ELSEWHERE = [
    nn.Conv2d(18, 4, 1),
    nn.Conv2d(18, 4, 3),
    nn.Conv2d(18, 4, 3, padding=2),
    nn.Conv2d(18, 4, 3, padding=1, groups=2),
    nn.Conv2d(18, 4, 3, padding=1, dilation=2),
    nn.Conv2d(18, 4, (3, 1), padding=(1, 0)),
    nn.Conv2d(18, 4, (3, 5), padding=(1, 2)),
    nn.Conv2d(18, 4, 4, padding="same"),
    nn.Conv2d(18, 4, 3, padding=1, padding_mode="reflect"),
    nn.Linear(18, 4),
]


def as_filters(pointwise, kernel_size):
    """The filters of the convolution that a spatial shift and a 1x1 convolution are."""
    n_rows, n_channels = pointwise.shape[:2]
    filters = torch.zeros(n_rows, n_channels, kernel_size**2, dtype=pointwise.dtype)
    size = n_channels // kernel_size**2
    for c in range(n_channels):
        place = c // size if c < size * kernel_size**2 else kernel_size**2 // 2
        filters[:, c, place] = pointwise[:, c, 0, 0]
    return filters.unflatten(2, (kernel_size, kernel_size))


@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize(("kernel_size", "dilation", "n_channels"), [(3, 1, 9), (3, 2, 23), (5, 1, 28)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_is_a_convolution_with_one_weight_a_channel(stride, kernel_size, dilation, n_channels, bias):
    torch.manual_seed(0)
    padding = dilation * (kernel_size // 2)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    convolution = nn.Conv2d(n_channels, 4, kernel_size, bias=bias, dtype=torch.float64, **geometry)
    layer = SpatialShiftConv2d(convolution, SpatialShift())
    x = torch.randn(2, n_channels, 9, 8, dtype=torch.float64, requires_grad=True)
    filters = as_filters(layer.pointwise.weight, kernel_size)
    expected = F.conv2d(x, filters, convolution.bias, **geometry)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    parameters = (x, layer.pointwise.weight)
    upstream = torch.randn_like(y)
    gradients = (torch.autograd.grad(output, parameters, upstream) for output in (y, expected))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


def test_trained_weights_are_those_of_the_place_that_a_channel_comes_from():
    torch.manual_seed(0)
    convolution = nn.Conv2d(20, 4, 3, padding=1)
    filters = as_filters(torch.randn(4, 20, 1, 1), 3)
    convolution.weight.data.copy_(filters)
    x = torch.randn(2, 20, 6, 6)
    layer = SpatialShift().layer(convolution, from_trained=True)
    torch.testing.assert_close(layer(x), convolution(x))
    # All else of the filters has no place in the layer.
    convolution.weight.data += torch.where(filters == 0, 5.0, 0.0)
    again = SpatialShift().layer(convolution, from_trained=True)
    assert torch.equal(again.pointwise.weight, layer.pointwise.weight)


def test_the_1x1_convolutions_may_be_of_another_operator():
    convolution = nn.Conv2d(18, 6, 3, padding=1, stride=2)
    shift = ShiftConfig("Q", 4)
    layer = SpatialShift(pointwise=shift).layer(convolution, from_trained=True)
    assert type(layer.pointwise) is ShiftConv2d
    assert layer.pointwise.stride == (2, 2)
    block = ShiftConv(pointwise=shift).layer(convolution, from_trained=False)
    assert {type(block.expand), type(block.reduce)} == {ShiftConv2d}
    for module in (layer, block):
        assert module(torch.randn(1, 18, 7, 7)).shape == (1, 6, 4, 4)


@pytest.mark.parametrize("expansion", [2, 3])
def test_a_block_is_conv_norm_relu_shift_conv(expansion):
    torch.manual_seed(0)
    convolution = nn.Conv2d(5, 7, 3, stride=2, padding=1, dtype=torch.float64)
    block = ShiftConv(expansion).layer(convolution, from_trained=False)
    assert type(block) is ShiftConvBlock
    assert block.expand.weight.shape == (7 * expansion, 5, 1, 1)
    assert block.expand.bias is None
    assert block.reduce.bias is convolution.bias
    x = torch.randn(4, 5, 6, 6, dtype=torch.float64)
    hidden = F.relu(F.batch_norm(F.conv2d(x, block.expand.weight), None, None, training=True))
    filters = as_filters(block.reduce.weight, 3)
    torch.testing.assert_close(block(x), F.conv2d(hidden, filters, convolution.bias, stride=2, padding=1))
    n_weights = sum(p.numel() for p in (block.expand.weight, block.reduce.weight))
    assert n_weights == 7 * expansion * 12


@pytest.mark.parametrize("module", ELSEWHERE, ids=str)
def test_other_layers_are_left_alone(module):
    for config in (SpatialShift(), ShiftConv()):
        assert config.layer(module, from_trained=True) is module
    if isinstance(module, nn.Conv2d):
        for kind, config in ((SpatialShiftConv2d, SpatialShift()), (ShiftConvBlock, ShiftConv())):
            with pytest.raises(ValueError, match=r"needs an odd square kernel from 3x3, .* not Conv2d\(18, 4"):
                kind(module, config)


def test_too_few_channels_for_all_directions_are_left_alone():
    for n_in, n_out in itertools.product((8, 9), (2, 3)):
        convolution = nn.Conv2d(n_in, n_out, 3, padding=1)
        assert (SpatialShift().layer(convolution, from_trained=False) is convolution) == (n_in < 9)
        assert (ShiftConv().layer(convolution, from_trained=False) is convolution) == (n_out < 3)


@pytest.mark.parametrize("expansion", [0, 1.5])
def test_a_wrong_expansion_is_refused(expansion):
    with pytest.raises(ValueError, match=f"expansion must be a whole number of at least 1, not {expansion}"):
        ShiftConv(expansion)


def test_a_shift_has_no_parameters():
    layer = SpatialShift2d(3, dilation=2)
    assert not layer.state_dict()
    assert repr(layer) == "SpatialShift2d(kernel_size=3, dilation=2)"
