import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.operators import PointwiseDepthwise, PointwiseDepthwisePointwise, ShiftConfig, ShiftConv2d


def as_filters(layer):
    """The filters of the convolution that the three in a row are: sum_r b[m, r] d[r, i, j] a[r, c]."""
    a, d, b = (part.weight.detach() for part in (layer.expand, layer.depthwise, layer.reduce))
    return torch.einsum("mr,rij,rc->mcij", b[:, :, 0, 0], d[:, 0], a[:, :, 0, 0])


def largest_parts(weight, n_parts):
    """The error of the best ``n_parts`` matrices of rank 1, one a row at least."""
    sizes = torch.linalg.svdvals(weight.flatten(2).double())
    rest = sizes[:, 1:].flatten().sort(descending=True).values
    return rest[n_parts - len(sizes) :].square().sum().sqrt()


@pytest.mark.parametrize("rank", [None, 1, 20])
@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel_size": 3},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 2), "padding": (2, 0), "dilation": (1, 2), "bias": False},
    ],
)
def test_a_layer_is_a_convolution_with_filters_of_that_rank(rank, geometry):
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, dtype=torch.float64, **geometry)
    layer = PointwiseDepthwise(rank).layer(convolution, from_trained=False)
    assert type(layer) is PointwiseDepthwisePointwise
    assert layer.rank == layer.depthwise.groups == (rank or 6)
    x = torch.randn(2, 4, 8, 9, dtype=torch.float64)
    y = layer(x)
    where = {name: value for name, value in geometry.items() if name not in ("kernel_size", "bias")}
    torch.testing.assert_close(y, F.conv2d(x, as_filters(layer), convolution.bias, **where))
    y.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_zeros_around_the_image_are_zeros_of_the_filters_too():
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular", dtype=torch.float64)
    layer = PointwiseDepthwise().layer(convolution, from_trained=False)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    around = F.pad(x, (1, 1, 1, 1), mode="circular")
    torch.testing.assert_close(layer(x), F.conv2d(around, as_filters(layer), convolution.bias))


@pytest.mark.parametrize("rank", [6, 9, 24])
def test_trained_filters_are_met_as_nearly_as_the_rank_allows(rank):
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3)
    layer = PointwiseDepthwise(rank).layer(convolution, from_trained=True)
    error = (as_filters(layer) - convolution.weight.detach()).double().norm()
    assert error.item() == pytest.approx(largest_parts(convolution.weight.detach(), rank).item(), abs=1e-5)
    assert layer.reduce.bias is convolution.bias


def test_a_rank_beyond_all_parts_starts_as_the_trained_convolution():
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, padding=1)
    layer = PointwiseDepthwise(rank=30).layer(convolution, from_trained=True)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(layer(x), convolution(x), rtol=1e-4, atol=1e-5)
    # What is left over can learn.
    layer(x).square().sum().backward()
    assert layer.reduce.weight.grad[:, 24:].abs().min() > 0


def test_a_rank_below_the_rows_takes_the_largest_parts():
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3)
    convolution.weight.data[2:4] *= 100
    layer = PointwiseDepthwise(rank=2).layer(convolution, from_trained=True)
    assert as_filters(layer).flatten(1).norm(dim=1).nonzero().flatten().tolist() == [2, 3]


def test_the_three_may_be_of_another_operator():
    layer = PointwiseDepthwise(inner=ShiftConfig("Q", 4)).layer(nn.Conv2d(4, 6, 3), from_trained=False)
    assert {type(part) for part in (layer.expand, layer.depthwise, layer.reduce)} == {ShiftConv2d}
    assert layer(torch.randn(1, 4, 5, 5)).shape == (1, 6, 3, 3)


def test_other_layers_are_left_alone():
    for module in (nn.Linear(4, 6), nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 3, groups=2)):
        assert PointwiseDepthwise().layer(module, from_trained=False) is module
    with pytest.raises(ValueError, match="with groups has no pointwise-depthwise form"):
        PointwiseDepthwisePointwise(nn.Conv2d(4, 6, 3, groups=2), PointwiseDepthwise())


@pytest.mark.parametrize("rank", [0, 2.5])
def test_a_wrong_rank_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank must be None or a whole number of at least 1, not {rank}"):
        PointwiseDepthwise(rank)
