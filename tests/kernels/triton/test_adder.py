"""Adder layers on a GPU equal the reference in plain torch, in any geometry, layout and dtype."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dsnn_hpo.errors import KernelError
from dsnn_hpo.kernels import Implementation, adder_conv2d_reference, use_implementation
from dsnn_hpo.kernels.adder import adder_grad_input_reference
from dsnn_hpo.kernels.triton import _dispatch

# float32 sums of up to 200 terms; powers by the GPU's exp2 and log2, which are within 2**-22.
TOLERANCES = {torch.float32: 2e-5, torch.float16: 2.0**-9, torch.bfloat16: 2.0**-6}
GEOMETRIES = [
    # (x, weight), (stride, padding, dilation, groups)
    (((2, 3, 7, 6), (5, 3, 3, 3)), ([1, 1], [1, 1], [1, 1], 1)),
    (((1, 4, 9, 8), (6, 2, 3, 2)), ([2, 3], [2, 1], [2, 1], 2)),
    (((3, 5, 4, 4), (5, 1, 3, 3)), ([2, 2], [1, 1], [1, 1], 5)),
    (((9, 17, 3, 3), (70, 17, 1, 1)), ([1, 1], [0, 0], [1, 1], 1)),
    (((1, 70, 3, 3), (2, 70, 1, 1)), ([3, 3], [0, 0], [1, 1], 1)),
]


def check(results: Tensor, expected: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
    assert results.dtype is dtype
    assert ((results.cpu().double() - expected).abs() <= TOLERANCES[dtype] * scale.abs() + 1e-30).all()


@pytest.mark.parametrize(("shapes", "geometry"), GEOMETRIES)
@pytest.mark.parametrize("exponent", [1.0, 1.3, 2.0])
def test_equals_the_reference(device, shapes, geometry, exponent):
    generator = torch.Generator().manual_seed(0)
    kinds = [
        (torch.float32, torch.channels_last),
        (torch.float32, torch.contiguous_format),
        (torch.bfloat16, torch.channels_last),
        (torch.float16, torch.contiguous_format),
    ]
    for dtype, memory_format in kinds if exponent == 1 else kinds[:1]:
        x, weight = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
        x = x.to(memory_format=memory_format)
        arguments = (*geometry, exponent)
        expected = adder_conv2d_reference(x.double(), weight.double(), *arguments)
        with use_implementation(Implementation.COMPILED):
            y = _dispatch.adder_conv2d(x.to(device), weight.to(device), *arguments)
        check(y, expected, expected, dtype)
        assert y.is_contiguous(memory_format=memory_format)
        grad = torch.randn(y.shape, generator=generator).to(dtype)
        expected = adder_grad_input_reference(grad.double(), x.double(), weight.double(), *arguments)
        spread = x.double().abs() + 3, -weight.double().abs()
        scale = adder_grad_input_reference(grad.double().abs(), *spread, *arguments)
        with use_implementation(Implementation.COMPILED):
            grad_x = _dispatch.adder_conv2d_grad_input(*(t.to(device) for t in (grad, x, weight)), *arguments)
        check(grad_x, expected, scale, dtype)
        assert grad_x.stride() == x.stride()


def test_equal_values_and_values_that_are_not_finite(device):
    one, arguments = torch.ones(1, 1, 1, 1, device=device), ([1, 1], [0, 0], [1, 1], 1)
    for exponent in (1.0, 1.5):
        assert _dispatch.adder_conv2d(one, one, *arguments, exponent).item() == 0
        assert _dispatch.adder_conv2d_grad_input(one, one, one, *arguments, exponent).item() == 0
        assert math.isnan(_dispatch.adder_conv2d(one * math.nan, one, *arguments, exponent).item())
        assert math.isnan(_dispatch.adder_conv2d_grad_input(one, one * math.nan, one, *arguments, exponent).item())
        assert _dispatch.adder_conv2d(one * math.inf, one, *arguments, exponent).item() == -math.inf


def test_what_the_kernels_do_not_take_runs_on_the_reference_unless_compiled_is_asked_for(device):
    x, weight, arguments = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 2, 2), ([1, 1], [0, 0], [1, 1], 1, 1.0)
    on = x.double().to(device), weight.double().to(device)
    expected = adder_conv2d_reference(x.double(), weight.double(), *arguments)
    assert torch.equal(_dispatch.adder_conv2d(*on, *arguments).cpu(), expected)
    with use_implementation(Implementation.COMPILED), pytest.raises(KernelError, match=r"not torch\.float64"):
        _dispatch.adder_conv2d(*on, *arguments)
    none = _dispatch.adder_conv2d(on[0][:0], on[1], *arguments)
    assert none.shape == (0, 1, 2, 2)
    assert _dispatch.adder_conv2d_grad_input(none, on[0][:0], on[1], *arguments).shape == (0, 2, 3, 3)
    with pytest.raises(ValueError, match="groups must divide"):
        _dispatch.adder_conv2d(*on, [1, 1], [0, 0], [1, 1], 2, 1.0)
