"""Adder layers equal their written formulas and gradient rules, computed here by loops over single differences."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.library import opcheck

from dsnn_hpo.errors import KernelError
from dsnn_hpo.kernels import (
    Implementation,
    adder_conv2d,
    adder_conv2d_reference,
    adder_linear,
    adder_linear_reference,
    use_implementation,
)

profile = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Relative to the sums of the terms' magnitudes, of at most a few hundred float32 terms. At exponent 1 the forward pass adds
# up maxima of x and w and takes away both (see adder.inl), so its terms are |x| + |w|; powers come from polynomials that
# are within 5e-6 of them.
TOLERANCES = {1.0: 2e-6, 1.01: 1e-5, 1.5: 1e-5, 1.99: 1e-5, 2.0: 1e-5}


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


@st.composite
def large_cases(draw: st.DrawFn) -> Case:
    """Returns float32 cases whose channels fill blocks of 16 lanes, or not, and whose pixels fill tiles, or not."""
    groups, per_group, rows = draw(
        st.one_of(
            st.tuples(st.just(1), st.sampled_from([1, 3, 16, 17, 35]), st.sampled_from([1, 16, 20, 33])),
            st.tuples(st.sampled_from([2, 3]), st.sampled_from([1, 4, 17]), st.sampled_from([1, 2, 17])),
            st.tuples(st.sampled_from([2, 16, 19, 40]), st.just(1), st.just(1)),
        )
    )
    size, kernel = draw(st.tuples(st.integers(5, 9), st.integers(5, 9))), draw(st.tuples(*[st.integers(1, 3)] * 2))
    stride, padding = draw(st.tuples(*[st.integers(1, 4)] * 2)), draw(st.tuples(*[st.integers(0, 3)] * 2))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    x = torch.randn((draw(st.integers(1, 5)), groups * per_group, *size), generator=generator)
    weight = torch.randn((groups * rows, per_group, *kernel), generator=generator)
    formats = st.sampled_from([torch.contiguous_format, torch.channels_last])
    x, weight = x.to(memory_format=draw(formats)), weight.to(memory_format=draw(formats))
    return Case(x, weight, stride, padding, dilation, groups)


Results = tuple[Tensor, Tensor, Tensor]


def results_of(case: Case, grad: Tensor, exponent: float = 1.0) -> Results:
    """Returns the output, the gradient of x and that of the weight for a gradient of the output."""
    x, weight = case.x.clone().requires_grad_(), case.weight.clone().requires_grad_()
    y = adder_conv2d(x, weight, *case.geometry, exponent)
    y.backward(grad)
    return y.detach(), x.grad, weight.grad


def sums_of_magnitudes(case: Case, grad: Tensor, exponent: float) -> Results:
    """Returns the results of ``|x| + |w|`` and |g|, whose terms all have one sign, or 1 in place of a clipped term."""
    spread = replace(case, x=case.x.abs(), weight=-case.weight.abs())
    y, grad_x, grad_weight = results_of(spread, grad.abs(), exponent)
    if exponent > 1:
        return y, grad_x, grad_weight
    far = replace(case, x=torch.full_like(case.x, 10.0), weight=torch.zeros_like(case.weight))
    return y, results_of(far, grad.abs())[1], grad_weight


def assert_equal_the_reference(case: Case, exponent: float = 1.0, n_threads: int = 1) -> None:
    double = replace(case, x=case.x.double(), weight=case.weight.double())
    y = adder_conv2d(double.x, double.weight, *case.geometry)
    grad = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with use_implementation(Implementation.COMPILED):
            results = results_of(case, grad.float(), exponent)
    finally:
        torch.set_num_threads(before)
    expected, scales = results_of(double, grad, exponent), sums_of_magnitudes(double, grad, exponent)
    for result, right, scale in zip(results, expected, scales, strict=True):
        assert ((result - right).abs() <= TOLERANCES[exponent] * scale.abs()).all()
    for result, tensor in ((results[0], case.x), (results[1], case.x)):
        assert result.is_contiguous() or result.is_contiguous(memory_format=torch.channels_last)
        assert not tensor.is_contiguous() or result.is_contiguous()


@settings(profile, max_examples=40)
@given(case=large_cases(), n_threads=st.sampled_from([1, 2]))
def test_compiled_kernels_equal_the_reference(each_isa: str, case: Case, n_threads: int) -> None:
    assert_equal_the_reference(case, n_threads=n_threads)


@settings(profile, max_examples=25)
@given(case=large_cases(), exponent=st.sampled_from([1.01, 1.5, 1.99, 2.0]))
def test_compiled_kernels_equal_the_reference_of_powers(each_isa: str, case: Case, exponent: float) -> None:
    assert_equal_the_reference(case, exponent)


@pytest.mark.parametrize("exponent", [1.0, 1.01, 1.5, 2.0])
@pytest.mark.parametrize("size", [0.0, 1e-15, 1.0, 1e6])
def test_distances_of_any_size_are_right(each_isa: str, exponent: float, size: float) -> None:
    x = torch.tensor([3.0, 1.0, -2.0, 1.25]).mul(size).view(1, 4, 1, 1)
    weight = torch.tensor([1.0, 1.0, 1.0, 1.25]).mul(size).view(1, 4, 1, 1)
    y, grad_x, grad_weight = results_of(Case(x, weight, (1, 1), (0, 0), (1, 1), 1), torch.ones(1, 1, 1, 1), exponent)
    distance = torch.tensor([2.0, 0.0, -3.0, 0.0], dtype=torch.float64) * size
    # The maxima's rounding, which is that of x and w.
    rounding = 1e-6 * size if exponent == 1 else 0.0
    torch.testing.assert_close(
        y.double(), -(distance.abs() ** exponent).sum().view(1, 1, 1, 1), rtol=1e-5, atol=rounding
    )
    slope = distance if exponent == 1 else exponent * distance.abs() ** (exponent - 1) * distance.sign()
    torch.testing.assert_close(grad_weight.double().flatten(), slope, rtol=1e-5, atol=rounding)
    expected = -(slope.clamp(-1, 1) if exponent == 1 else slope)
    torch.testing.assert_close(grad_x.double().flatten(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("n_images", [2, 3, 7])
@pytest.mark.parametrize("groups", [1, 2, 32])
def test_the_number_of_threads_changes_no_bit(each_isa: str, n_images: int, groups: int) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((n_images, 32, 37, 43), generator=generator)
    weight = torch.randn((32, 32 // groups, 3, 5), generator=generator)
    case = Case(x, weight, (2, 1), (1, 2), (1, 1), groups)
    # more than a million terms: below, one thread does it all
    grad = torch.randn((n_images, 32, 19, 43), generator=generator)
    before = torch.get_num_threads()
    results = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        # At exponent 1 the weight's gradient is torch's.
        results.append(results_of(case, grad)[:2])
        if n_images == 2:
            results[-1] += results_of(case, grad, 1.5)
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(other, results[0], strict=True))


def test_a_large_image_and_many_rows_are_taken_in_parts(each_isa: str) -> None:
    generator = torch.Generator().manual_seed(4)
    x, weight = torch.randn((2, 3, 130, 110), generator=generator), torch.randn((6, 3, 3, 3), generator=generator)
    assert_equal_the_reference(Case(x, weight, (1, 1), (1, 1), (1, 1), 1), n_threads=2)
    rows, weight = torch.randn((3000, 20), generator=generator), torch.randn((5, 20), generator=generator)
    with use_implementation(Implementation.COMPILED):
        y = adder_linear(rows, weight)
    torch.testing.assert_close(y, -torch.cdist(rows, weight, p=1), rtol=1e-5, atol=1e-4)


def test_values_that_are_not_finite_stay_visible(each_isa: str) -> None:
    for value in (math.nan, math.inf, -math.inf):
        for groups in (1, 8):
            x, weight = torch.ones(1, 8, 5, 5), torch.ones(8, 8 // groups, 3, 3)
            x[0, 2, 2, 2] = value
            y, grad_x, _ = results_of(Case(x, weight, (1, 1), (0, 0), (1, 1), groups), torch.ones(1, 8, 3, 3))
            assert not y[0, 2].isfinite().any()
            assert grad_x[0, 2, 2, 2].isnan() == math.isnan(value)
            assert math.isnan(value) or grad_x[0, 2, 2, 2] == -math.copysign(9 * 8 / groups, value)
            weight[3, 0, 1, 1] = value
            y, grad_x, _ = results_of(Case(torch.ones(1, 8, 5, 5), weight, *((1, 1), (0, 0), (1, 1)), groups), y)
            assert not y[0, 3].isfinite().any()
            assert y[0, 4].isfinite().all()
            assert not math.isnan(value) or grad_x[0, 0 if groups == 1 else 3, 2, 2].isnan()


def test_compiled_kernels_say_what_they_do_not_take() -> None:
    with use_implementation(Implementation.COMPILED), pytest.raises(KernelError, match=r"float32 .* not torch.float64"):
        adder_conv2d(torch.zeros(1, 1, 1, 1).double(), torch.zeros(1, 1, 1, 1).double())


def test_padding_beyond_memory_is_an_error() -> None:
    with pytest.raises(MemoryError, match="not enough memory"):
        adder_conv2d(torch.zeros(1, 2**15, 1, 1), torch.zeros(1, 2**15, 1, 1), 2**15, 2**15)


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
