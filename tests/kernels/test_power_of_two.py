import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.kernels import exponent_range, power_of_two_ps, power_of_two_q
from dsnn_hpo.kernels.power_of_two import straight_through_ps

BITS = range(2, 9)
profile = settings(derandomize=True, deadline=None, max_examples=60)


def q_by_definition(w: float, bits: int) -> float:
    lowest = -(2 ** (bits - 1) - 1)
    if w == 0:
        return 2.0**lowest
    p = min(max(round(math.log2(abs(w))), lowest), 0)
    return math.copysign(2.0**p, w)


@pytest.mark.parametrize(
    ("shift_type", "expected"),
    [
        ("Q", {2: -1, 3: -3, 4: -7, 5: -15, 6: -31, 7: -63, 8: -127}),
        ("PS", {2: 0, 3: -2, 4: -6, 5: -14, 6: -30, 7: -62, 8: -126}),
    ],
)
def test_exponent_range_is_the_published_one(shift_type, expected):
    assert {bits: exponent_range(shift_type, bits) for bits in BITS} == {b: (p, 0) for b, p in expected.items()}


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_outside_2_to_8_are_refused(bits):
    with pytest.raises(ValueError, match="weight_bits must be 2 to 8"):
        exponent_range("Q", bits)
    with pytest.raises(ValueError, match="weight_bits must be 2 to 8"):
        power_of_two_ps(torch.zeros(1), torch.zeros(1), bits)


def test_unknown_shift_type_is_refused():
    with pytest.raises(ValueError, match="'Q' or 'PS', not 'q'"):
        exponent_range("q", 4)


@profile
@given(st.lists(st.floats(-4, 4, width=32, allow_subnormal=True), min_size=1, max_size=20), st.sampled_from(BITS))
def test_q_equals_its_definition(values, bits):
    got = power_of_two_q(torch.tensor(values), bits)
    assert got.tolist() == [q_by_definition(w, bits) for w in values]
    double = power_of_two_q(torch.tensor(values, dtype=torch.float64), bits)
    assert double.tolist() == got.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [-1, -2, -60, -100])
def test_q_rounds_exactly_at_the_square_root_of_two(dtype, exponent):
    boundary = torch.tensor(2.0, dtype=torch.float64).sqrt().to(dtype) * 2.0**exponent
    around = torch.stack(
        [torch.nextafter(boundary, torch.zeros_like(boundary)), boundary, torch.nextafter(boundary, 2 * boundary)]
    )
    # Integer arithmetic decides: w rounds up exactly if w**2 > 2**(2p + 1).
    expected = []
    for w in around.tolist():
        numerator, denominator = w.as_integer_ratio()
        up = numerator**2 * 2 ** (-2 * exponent) > 2 * denominator**2
        expected.append(2.0 ** (exponent + up))
    assert power_of_two_q(around, 8).tolist() == expected


@pytest.mark.parametrize("bits", BITS)
def test_every_q_code_is_exact_and_stays_itself(bits):
    lowest, highest = exponent_range("Q", bits)
    codes = [s * 2.0**p for p in range(lowest, highest + 1) for s in (-1, 1)]
    weight = torch.tensor(codes)
    assert weight.tolist() == codes  # float32 holds them, 2**-127 too
    assert power_of_two_q(weight, bits).tolist() == codes
    assert power_of_two_q(weight, bits, "stochastic").tolist() == codes
    assert len(set(codes)) == 2**bits


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("rounding", ["deterministic", "stochastic"])
def test_q_zero_becomes_the_smallest_positive_code(bits, rounding):
    smallest = 2.0 ** exponent_range("Q", bits)[0]
    got = power_of_two_q(torch.tensor([0.0, -0.0, 1e-45, -1e-45, math.inf, -math.inf]), bits, rounding)
    assert got.tolist() == [smallest, smallest, smallest, -smallest, 1.0, -1.0]


@pytest.mark.parametrize("rounding", ["deterministic", "stochastic"])
def test_nan_stays_nan(rounding):
    nan, one = torch.tensor([math.nan, 1.0]), torch.ones(2)
    assert power_of_two_q(nan, 4, rounding).isnan().tolist() == [True, False]
    assert power_of_two_ps(nan, one, 4, rounding).isnan().tolist() == [True, False]
    assert power_of_two_ps(one, nan, 4, rounding).isnan().tolist() == [True, False]


def test_q_stochastic_rounding_has_the_probability_of_the_fraction_of_log2():
    torch.manual_seed(0)
    weight = torch.full((40_000,), -(2.0**-2.7))
    exponents = power_of_two_q(weight, 5, "stochastic").abs().log2()
    assert set(exponents.tolist()) == {-3.0, -2.0}
    # 4 standard deviations of the mean of 40,000 Bernoulli(0.3)
    assert (exponents == -2).double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 40_000))


def test_q_gradient_passes_unchanged_even_outside_the_range():
    weight = torch.tensor([3.0, 0.3, 0.0, -1e-9], requires_grad=True)
    upstream = torch.tensor([1.0, -2.0, 3.0, 4.0])
    power_of_two_q(weight, 4).backward(upstream)
    assert weight.grad.tolist() == upstream.tolist()


@profile
@given(st.floats(-140, 4), st.floats(-3, 3), st.sampled_from(BITS))
def test_ps_equals_its_definition(shift, sign, bits):
    lowest, highest = exponent_range("PS", bits)
    p = round(min(max(shift, lowest), highest))
    s = (round(sign) > 0) - (round(sign) < 0)
    got = power_of_two_ps(torch.tensor([shift], dtype=torch.float64), torch.tensor([sign], dtype=torch.float64), bits)
    assert got.tolist() == [s * 2.0**p]


@pytest.mark.parametrize("bits", BITS)
def test_every_ps_code_is_exact(bits):
    lowest, highest = exponent_range("PS", bits)
    shift = torch.arange(lowest, highest + 1.0)
    for sign in (-1.0, 0.0, 1.0):
        got = power_of_two_ps(shift, torch.full_like(shift, sign), bits)
        assert got.tolist() == [sign * 2.0**p for p in range(lowest, highest + 1)]


def test_ps_halves_round_to_even_and_small_signs_to_zero():
    shift = torch.tensor([-0.5, -1.5, -2.5, -1.0, -1.0, -1.0])
    sign = torch.tensor([1.0, 1.0, 1.0, 0.5, -0.5, 0.51])
    assert power_of_two_ps(shift, sign, 4).tolist() == [1.0, 0.25, 0.25, 0.0, 0.0, 0.5]


def test_ps_stochastic_rounding_has_the_probability_of_the_fractions():
    torch.manual_seed(0)
    n = 40_000
    value = power_of_two_ps(torch.full((n,), -1.25), torch.full((n,), -0.4), 4, "stochastic")
    tolerance = 4 * math.sqrt(0.25 / n)
    assert (value == 0).double().mean().item() == pytest.approx(0.6, abs=tolerance)
    assert (value == -0.5).double().mean().item() == pytest.approx(0.4 * 0.75, abs=tolerance)
    assert (value == -0.25).double().mean().item() == pytest.approx(0.4 * 0.25, abs=tolerance)


@profile
@given(st.integers(0, 2**31), st.sampled_from(BITS))
def test_ps_gradients_follow_the_written_rules(seed, bits):
    generator = torch.Generator().manual_seed(seed)
    lowest, _ = exponent_range("PS", bits)
    shift = torch.rand(7, dtype=torch.float64, generator=generator).mul(lowest - 1).requires_grad_()
    sign = torch.randn(7, dtype=torch.float64, generator=generator).requires_grad_()
    upstream = torch.randn(7, dtype=torch.float64, generator=generator)
    value = power_of_two_ps(shift, sign, bits)
    value.backward(upstream)
    torch.testing.assert_close(sign.grad, upstream, rtol=0, atol=0)
    torch.testing.assert_close(shift.grad, upstream * value.detach() * math.log(2), rtol=1e-15, atol=0)
    assert (shift.grad[value == 0] == 0).all()


def test_straight_through_can_run_backward_twice_on_one_value():
    value, shift, sign = torch.full((2,), 0.5), torch.zeros(2, requires_grad=True), torch.ones(2)
    for _ in range(2):
        straight_through_ps(shift, sign, value).sum().backward()
    torch.testing.assert_close(shift.grad, torch.full((2,), math.log(2)))


def test_half_precision_is_exact_where_it_can_be_and_refused_where_not():
    weight = torch.tensor([0.3, -0.003, 0.0])
    expected = power_of_two_q(weight, 5)
    for dtype in (torch.float16, torch.bfloat16):
        got = power_of_two_q(weight.to(dtype), 5)
        assert got.dtype is dtype
        assert got.double().tolist() == expected.double().tolist()
    assert power_of_two_q(weight.bfloat16(), 8).double().tolist()[2] == 2.0**-127
    with pytest.raises(ValueError, match=r"float16 cannot hold 2\*\*-31"):
        power_of_two_q(weight.half(), 6)


def test_memory_format_is_kept():
    weight = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    assert power_of_two_q(weight, 4).is_contiguous(memory_format=torch.channels_last)
    assert power_of_two_ps(weight, weight, 4).is_contiguous(memory_format=torch.channels_last)
