import pytest
import torch
from torch.nn import functional as F

from dsnn_hpo.kernels.winograd import WEIGHT_TRANSFORM, transformed_input, transformed_output


def test_with_products_the_transforms_make_a_convolution():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    transform = weight.new_tensor(WEIGHT_TRANSFORM)
    filters = transform @ weight @ transform.T
    # Place by place, a product with 1x1 filters.
    grouped = filters.permute(2, 3, 0, 1).reshape(16 * 5, 3, 1, 1)
    y = transformed_output(F.conv2d(transformed_input(x), grouped, groups=16))
    torch.testing.assert_close(y, F.conv2d(x, weight))


def test_the_gradient_of_the_input_is_the_adjoint():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(transformed_input, (x,))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_order_of_memory_is_kept(memory_format):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 8).contiguous(memory_format=memory_format)
    tiles = transformed_input(x)
    assert tiles.shape == (2, 64, 2, 3)
    y = transformed_output(tiles)
    assert y.shape == (2, 4, 4, 6)
    assert tiles.is_contiguous(memory_format=memory_format)
    assert y.is_contiguous(memory_format=memory_format)
