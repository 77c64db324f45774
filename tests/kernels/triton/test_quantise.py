"""The quantisers in Triton equal the references in plain torch, bit for bit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dsnn_hpo.kernels import (
    exponent_range,
    fixed_point_reference,
    power_of_two_ps_reference,
    power_of_two_q_reference,
)

pytest.importorskip("triton", reason="triton is not installed")
quantise = pytest.importorskip("dsnn_hpo.kernels.triton.quantise")

profile = settings(
    derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])
SEEDS = st.integers(-(2**63), 2**63 - 1)
SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, -1e-45, 2.0**-126, 2.0**-127, 1.5 * 2.0**-127, 8.3e-39]
HALVES = [0.5, -0.5, 1.5, -1.5, 2.5, 4194304.5, 6000000.5, -8388607.5, 1.4142135, 1.4142136, -0.3, 0.3]


@st.composite
def inputs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Returns two tensors of one shape, of numbers of all sizes."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dtype = draw(DTYPES)
    n = draw(st.integers(1, 2500))
    bits = torch.randint(-(2**31), 2**31, (2, n), generator=generator).to(torch.int32).view(torch.float32)
    near_one = torch.randn(2, n, generator=generator) * draw(st.sampled_from([0.1, 1.0, 8.0]))
    special = torch.tensor(SPECIAL + HALVES)
    x = torch.cat([special, near_one[0], bits[0]])
    y = torch.cat([near_one[1], bits[1], special])
    return x.to(dtype), y.to(dtype)


def same(got: Tensor, expected: Tensor) -> bool:
    """Returns whether two tensors are of the same bits, all NaN taken as one."""
    assert got.dtype is expected.dtype
    got, integer = got.cpu(), {2: torch.int16, 4: torch.int32}[got.element_size()]
    return bool((got.view(integer).eq(expected.view(integer)) | (got.isnan() & expected.isnan())).all())


@profile
@given(inputs(), st.integers(2, 8), st.sampled_from(["deterministic", "stochastic"]), SEEDS)
def test_q_equals_the_reference(device, case, weight_bits, rounding, seed):
    weight, _ = case
    if 2.0 ** exponent_range("Q", weight_bits)[0] < torch.finfo(weight.dtype).smallest_normal / 1024:
        weight = weight.float()
    expected = power_of_two_q_reference(weight, weight_bits, rounding, seed)
    assert same(quantise.power_of_two_q(weight.to(device), weight_bits, rounding, seed), expected)


@profile
@given(inputs(), st.integers(2, 8), st.sampled_from(["deterministic", "stochastic"]), SEEDS)
def test_ps_equals_the_reference(device, case, weight_bits, rounding, seed):
    shift, sign = case
    if 2.0 ** exponent_range("PS", weight_bits)[0] < torch.finfo(shift.dtype).smallest_normal / 1024:
        shift, sign = shift.float(), sign.float()
    expected = power_of_two_ps_reference(shift, sign, weight_bits, rounding, seed)
    assert same(quantise.power_of_two_ps(shift.to(device), sign.to(device), weight_bits, rounding, seed), expected)


@profile
@given(inputs())
def test_the_gradient_of_ps_equals_the_reference(device, case):
    grad, value = case
    got = quantise.power_of_two_ps_backward(grad.to(device), value.to(device))
    assert same(got, grad * value * math.log(2.0))


@profile
@given(inputs(), st.integers(1, 32), st.integers(1, 32), st.sampled_from(["floor", "nearest", "stochastic"]), SEEDS)
def test_fixed_point_equals_the_reference(device, case, integer_bits, fraction_bits, rounding, seed):
    x, _ = case
    expected = fixed_point_reference(x, integer_bits, fraction_bits, rounding, seed)
    assert same(quantise.fixed_point(x.to(device), integer_bits, fraction_bits, rounding, seed), expected)


def test_memory_format_is_kept_and_nothing_is_quantised_to_nothing(device):
    x = torch.randn(4, 3, 5, 5, device=device).to(memory_format=torch.channels_last)
    for got in (quantise.power_of_two_q(x, 4), quantise.power_of_two_ps(x, x, 4), quantise.fixed_point(x, 4, 4)):
        assert got.is_contiguous(memory_format=torch.channels_last)
    assert same(quantise.fixed_point(x, 4, 4, "stochastic", 3), fixed_point_reference(x.cpu(), 4, 4, "stochastic", 3))
    assert quantise.power_of_two_q(x[:0], 4).shape == (0, 3, 5, 5)


def test_only_dense_tensors_of_one_layout_and_dtype_are_supported():
    x = torch.randn(4, 6)
    assert quantise.is_supported(x)
    assert quantise.is_supported(x.t(), x.t())
    assert not quantise.is_supported(x[:, ::2])
    assert not quantise.is_supported(x.expand(2, 4, 6))
    assert not quantise.is_supported(x, x.half())
    assert not quantise.is_supported(x.double())
    assert not quantise.is_supported(torch.randn(3, 3), torch.randn(3, 3).t())


def test_a_dtype_that_cannot_hold_the_powers_is_refused(device):
    with pytest.raises(ValueError, match=r"float16 cannot hold 2\*\*-31"):
        quantise.power_of_two_q(torch.zeros(3, dtype=torch.float16, device=device), 6)
