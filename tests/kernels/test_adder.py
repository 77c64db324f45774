"""Adder layers equal their written formulas and gradient rules, computed here by loops over single differences."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.library import opcheck

from dsnn_hpo.kernels import adder_conv2d, adder_conv2d_reference, adder_linear, adder_linear_reference

profile = settings(derandomize=True, deadline=None, max_examples=60)


@dataclass(frozen=True)
class Case:
    x: Tensor
    weight: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
        return self.stride, self.padding, self.dilation, self.groups

    def terms(self):
        """Yields (index of y, index of x or None for padding, index of w), the terms of the sums."""
        n, _, height, width = self.x.shape
        m, per_group, kh, kw = self.weight.shape
        out_h = (height + 2 * self.padding[0] - self.dilation[0] * (kh - 1) - 1) // self.stride[0] + 1
        out_w = (width + 2 * self.padding[1] - self.dilation[1] * (kw - 1) - 1) // self.stride[1] + 1
        for image, row, i, j in itertools.product(range(n), range(m), range(out_h), range(out_w)):
            first_channel = row // (m // self.groups) * per_group
            for channel, a, b in itertools.product(range(per_group), range(kh), range(kw)):
                p = i * self.stride[0] + a * self.dilation[0] - self.padding[0]
                q = j * self.stride[1] + b * self.dilation[1] - self.padding[1]
                inside = 0 <= p < height and 0 <= q < width
                source = (image, first_channel + channel, p, q) if inside else None
                yield (image, row, i, j), source, (row, channel, a, b)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    groups, per_group, rows = draw(st.sampled_from([(1, 1, 1), (1, 2, 3), (2, 1, 2), (2, 2, 1), (3, 1, 1)]))
    height, width = draw(st.tuples(st.integers(3, 5), st.integers(3, 5)))
    kernel = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
    dilation = (draw(st.integers(1, 2)), 1)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    shape = (draw(st.integers(1, 2)), groups * per_group, height, width)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    weight = torch.randn((groups * rows, per_group, *kernel), dtype=torch.float64, generator=generator)
    return Case(x, weight, draw(pair), draw(st.tuples(st.integers(0, 2), st.integers(0, 1))), dilation, groups)


EXPONENTS = st.sampled_from([1.0, 1.25, 2.0])


@profile
@given(case=cases(), exponent=EXPONENTS)
def test_forward_and_gradients_equal_the_written_formulas(case: Case, exponent: float) -> None:
    x, weight = case.x.clone().requires_grad_(), case.weight.clone().requires_grad_()
    y = adder_conv2d(x, weight, *case.geometry, exponent)
    grad = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
    y.backward(grad)
    expected, grad_x, grad_weight = torch.zeros_like(y), torch.zeros_like(x), torch.zeros_like(weight)
    for at_y, at_x, at_w in case.terms():
        difference = (0.0 if at_x is None else case.x[at_x].item()) - case.weight[at_w].item()
        expected[at_y] -= abs(difference) ** exponent
        slope = exponent * math.copysign(abs(difference) ** (exponent - 1), difference)
        grad_weight[at_w] += grad[at_y] * (difference if exponent == 1 else slope)
        if at_x is not None:
            grad_x[at_x] += grad[at_y] * (min(max(-difference, -1.0), 1.0) if exponent == 1 else -slope)
    tight = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(y.detach(), expected.detach(), **tight)
    torch.testing.assert_close(x.grad, grad_x.detach(), **tight)
    torch.testing.assert_close(weight.grad, grad_weight.detach(), **tight)
    assert torch.equal(adder_conv2d_reference(case.x, case.weight, *case.geometry, exponent), y.detach())


@profile
@given(case=cases(), exponent=st.sampled_from([1.25, 2.0]))
def test_gradients_above_exponent_1_are_the_derivatives(case: Case, exponent: float) -> None:
    gradients = []
    for function in (adder_conv2d, adder_conv2d_reference):
        x, weight = case.x.clone().requires_grad_(), case.weight.clone().requires_grad_()
        function(x, weight, *case.geometry, exponent).sin().sum().backward()
        gradients.append((x.grad, weight.grad))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_the_weight_gradient_is_not_limited_and_the_inputs_is() -> None:
    x = torch.tensor([[[[3.0]]]], requires_grad=True)
    weight = torch.tensor([[[[-2.0]]]], requires_grad=True)
    adder_conv2d(x, weight).backward()
    assert weight.grad.item() == 5.0
    assert x.grad.item() == -1.0


@pytest.mark.parametrize("exponent", [1.0, 1.5])
def test_linear_is_the_convolution_of_single_pixels(exponent: float) -> None:
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    y = adder_linear(x, weight, exponent)
    expected = -(x[..., None, :] - weight).abs().pow(exponent).sum(-1)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(adder_linear_reference(x, weight, exponent), expected)
    grad = torch.randn_like(y)
    grad_x, grad_weight = torch.autograd.grad(y, (x, weight), grad)
    difference = (x[..., None, :] - weight).detach()
    if exponent == 1:
        for_x, for_weight = -difference.clamp(-1, 1), difference
    else:
        for_weight = exponent * difference.abs().sqrt() * difference.sign()
        for_x = -for_weight
    torch.testing.assert_close(grad_x, (for_x * grad[..., None]).sum(-2))
    torch.testing.assert_close(grad_weight, (for_weight * grad[..., None]).sum((0, 1)))


@pytest.mark.parametrize("shape", [(0, 4, 5, 5), (2, 4, 5, 5)])
@pytest.mark.parametrize("exponent", [1.0, 1.5])
def test_torch_accepts_the_ops(shape: tuple[int, ...], exponent: float) -> None:
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(shape).to(memory_format=memory_format).requires_grad_()
        weight = torch.randn(6, 2, 3, 3).requires_grad_()
        geometry = ([2, 1], [1, 0], [1, 2], 2, exponent)
        opcheck(torch.ops.dsnn_hpo.adder_conv2d.default, (x, weight, *geometry))
        y = adder_conv2d(x, weight, *geometry)
        assert not len(y) or y.is_contiguous(memory_format=memory_format)
        arguments = (torch.randn_like(y), x.detach(), weight.detach(), *geometry)
        opcheck(torch.ops.dsnn_hpo.adder_conv2d_grad_input.default, arguments)
        opcheck(torch.ops.dsnn_hpo.adder_conv2d_grad_weight.default, arguments)


def test_compiles_into_one_graph() -> None:
    compiled = torch.compile(adder_conv2d, backend="aot_eager", fullgraph=True)
    gradients = []
    for function in (compiled, adder_conv2d):
        x = torch.linspace(-2, 2, 2 * 4 * 5 * 5).view(2, 4, 5, 5).requires_grad_()
        weight = torch.linspace(2, -2, 6 * 2 * 3 * 3).view(6, 2, 3, 3).requires_grad_()
        function(x, weight, 2, 1, 1, 2).square().sum().backward()
        gradients.append((x.grad, weight.grad))
    torch.testing.assert_close(*gradients)


def test_no_rows_are_no_results() -> None:
    assert adder_linear(torch.zeros(2, 0, 3), torch.zeros(4, 3)).shape == (2, 0, 4)


IMAGE, WEIGHT = torch.zeros(2, 4, 5, 5), torch.zeros(6, 2, 3, 3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": IMAGE[0]}, ValueError, r"x of shape \(n, c, height, width\)"),
        ({"weight": WEIGHT[0]}, ValueError, r"a weight of shape \(m, c // groups, kh, kw\)"),
        ({"groups": 1}, ValueError, "needs 2 channels of x, not 4"),
        ({"groups": 4}, ValueError, "groups must divide the 6 rows"),
        ({"groups": 0}, ValueError, "at least 1, not 0"),
        ({"weight": WEIGHT[:0]}, ValueError, "must not be empty"),
        ({"exponent": 0.5}, ValueError, r"from 1 \(l1 distance\) to 2"),
        ({"exponent": math.nan}, ValueError, r"from 1 \(l1 distance\) to 2"),
        ({"stride": 0}, ValueError, "stride must be two numbers from 1"),
        ({"padding": (1, 2, 3)}, ValueError, "padding must be two numbers"),
        ({"dilation": 3}, ValueError, "too small for a kernel"),
        ({"weight": WEIGHT.double()}, TypeError, "one floating-point dtype"),
        ({"x": IMAGE.int(), "weight": WEIGHT.int()}, TypeError, "one floating-point dtype"),
        ({"weight": WEIGHT.to("meta")}, ValueError, "move one of them"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, object], error: type[Exception], message: str) -> None:
    arguments = {"x": IMAGE, "weight": WEIGHT, "groups": 2} | changes
    for function in (adder_conv2d, adder_conv2d_reference):
        with pytest.raises(error, match=message):
            function(**arguments)


def test_wrong_shapes_of_a_linear_layer_are_named() -> None:
    for function in (adder_linear, adder_linear_reference):
        with pytest.raises(ValueError, match=r"not \(2, 3\) and \(4, 5\)"):
            function(torch.zeros(2, 3), torch.zeros(4, 5))
