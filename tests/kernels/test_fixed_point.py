import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.kernels import fixed_point, fixed_point_range

profile = settings(derandomize=True, deadline=None, max_examples=150)
BITS = st.integers(1, 32)


@profile
@given(st.lists(st.floats(-300, 300), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 20))
def test_floor_and_nearest_equal_their_definitions(values, integer_bits, fraction_bits):
    low = Fraction(-(2 ** (integer_bits - 1)))
    step = Fraction(1, 2**fraction_bits)
    high = -low - step
    x = torch.tensor(values, dtype=torch.float64)
    for rounding, to_integer in (("floor", math.floor), ("nearest", round)):
        expected = [min(max(to_integer(Fraction(v) / step) * step, low), high) for v in values]
        got = fixed_point(x, integer_bits, fraction_bits, rounding)
        assert [Fraction(v) for v in got.tolist()] == expected


@profile
@given(
    BITS,
    BITS,
    st.sampled_from(["floor", "nearest", "stochastic"]),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
)
def test_every_format_stays_in_its_range(integer_bits, fraction_bits, rounding, dtype):
    info = torch.finfo(dtype)
    extremes = [-math.inf, info.min, -(2.0 ** (integer_bits - 1)), -1e-7, 0.0, 1.0, 2.0 ** (integer_bits - 1), info.max]
    got = fixed_point(torch.tensor([*extremes, math.inf]).to(dtype), integer_bits, fraction_bits, rounding)
    assert got.dtype is dtype
    assert got.isfinite().all()
    low = Fraction(-(2 ** (integer_bits - 1)))
    high = -low - Fraction(1, 2**fraction_bits)
    for value in got.tolist():
        assert low <= Fraction(value) <= high
        assert (Fraction(value) * 2**fraction_bits).denominator == 1


@profile
@given(BITS, BITS, st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]))
def test_the_ends_are_the_greatest_floats_inside_the_range(integer_bits, fraction_bits, dtype):
    low, high = fixed_point_range(integer_bits, fraction_bits, dtype)
    exact_high = 2 ** (integer_bits - 1) - Fraction(1, 2**fraction_bits)
    held = torch.tensor(high, dtype=dtype)
    assert held.item() == high
    assert torch.tensor(low, dtype=dtype).item() == low
    assert Fraction(high) <= exact_high
    above = torch.nextafter(held, torch.full_like(held, math.inf)).item()
    assert above == math.inf or Fraction(above) > exact_high or exact_high == Fraction(high)


def test_the_top_of_the_range_is_one_step_below_the_bound():
    x = torch.tensor([100.0, 3.97, 3.0, -100.0])
    assert fixed_point(x, 3, 5).tolist() == [3.96875, 3.96875, 3.0, -4.0]
    assert fixed_point(torch.tensor([0.99, 2.0, -2.0]), 1, 2).tolist() == [0.75, 0.75, -1.0]


def test_floor_is_towards_minus_infinity_and_nearest_takes_ties_to_even():
    x = torch.tensor([-0.3, 0.3, 0.25, 0.75, -0.25])
    assert fixed_point(x, 4, 1, "floor").tolist() == [-0.5, 0.0, 0.0, 0.5, -0.5]
    assert fixed_point(x, 4, 1, "nearest").tolist() == [-0.5, 0.5, 0.0, 1.0, 0.0]


def test_nan_stays_nan_and_half_precision_does_not_overflow():
    assert fixed_point(torch.tensor([math.nan, 1.0]), 16, 16).isnan().tolist() == [True, False]
    assert fixed_point(torch.tensor([1.5, -100.25]).half(), 16, 16).tolist() == [1.5, -100.25]


@pytest.mark.parametrize("value", [0.3, -0.3, 5.9])
def test_stochastic_rounding_is_unbiased(value):
    torch.manual_seed(0)
    n, step = 40_000, 0.25
    got = fixed_point(torch.full((n,), value), 4, 2, "stochastic")
    below = math.floor(value / step) * step
    assert set(got.tolist()) == {below, below + step}
    assert got.double().mean().item() == pytest.approx(value, abs=4 * step * 0.5 / math.sqrt(n))


def test_stochastic_rounding_keeps_codes():
    codes = torch.arange(-32, 32) / 4
    assert fixed_point(codes, 4, 2, "stochastic").tolist() == codes.tolist()
    large = torch.tensor([2.0**23 + 1, -(2.0**23) - 3])
    assert fixed_point(large, 32, 1, "stochastic").tolist() == large.tolist()


def test_gradient_passes_unchanged_even_outside_the_range():
    x = torch.tensor([100.0, 0.1, -100.0], requires_grad=True)
    fixed_point(x, 3, 4).backward(torch.tensor([1.0, 2.0, 3.0]))
    assert x.grad.tolist() == [1.0, 2.0, 3.0]


def test_the_input_is_not_changed():
    x = torch.tensor([0.3, 9.0], dtype=torch.float32)
    fixed_point(x, 2, 2)
    torch.testing.assert_close(x, torch.tensor([0.3, 9.0]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("integer_bits", "fraction_bits", "name"), [(0, 8, "integer"), (33, 8, "integer"), (8, 0, "fraction")]
)
def test_bits_outside_1_to_32_are_refused(integer_bits, fraction_bits, name):
    with pytest.raises(ValueError, match=f"{name}_bits must be 1 to 32"):
        fixed_point(torch.zeros(1), integer_bits, fraction_bits)
