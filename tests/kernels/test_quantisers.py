"""Every compiled quantiser equals its reference bit for bit, on every instruction set that the processor has."""

import math
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.library import opcheck

from dsnn_hpo.errors import KernelError
from dsnn_hpo.kernels import (
    Implementation,
    add_relu_fixed_point,
    fixed_point,
    fixed_point_reference,
    power_of_two_ps,
    power_of_two_ps_reference,
    power_of_two_q,
    power_of_two_q_reference,
    relu_fixed_point,
    use_implementation,
)
from dsnn_hpo.kernels._library import library, set_isa

ops = torch.ops.dsnn_hpo
LIBRARY = library()
ISAS = ("portable", "avx2", "avx512", "avx512vnni")

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the compiled kernels are not built")


@pytest.fixture(params=ISAS)
def isa(request):
    """One instruction set after the other; the processor's best one is put back."""
    before = LIBRARY.dsnn_isa().decode()
    try:
        set_isa(LIBRARY, request.param)
    except ValueError:
        pytest.skip(f"this processor has no {request.param}")
    with use_implementation(Implementation.COMPILED):
        yield request.param
    set_isa(LIBRARY, before)


profile = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FLOATS = st.lists(
    st.one_of(
        st.floats(width=32, allow_subnormal=True),
        st.floats(-4, 4, width=32),
        st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 2.0**-127, -(2.0**-126), 0.5, -0.5, 1.5, 2.0**31]),
    ),
    min_size=1,
    max_size=40,
)
SEEDS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
WEIGHT_BITS = st.integers(2, 8)
BITS = st.integers(1, 32)


def every_kind_of_float(n, seed=0):
    """Random bit patterns (every magnitude, NaN with payloads among them) and the thresholds of rounding."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randint(-(2**31), 2**31, (n,), generator=generator).to(torch.int32).view(torch.float32)
    powers = 2.0 ** torch.arange(-149, 128, dtype=torch.float64)
    halves = torch.arange(-40, 41) / 2
    around = torch.cat([powers.float(), (powers * math.sqrt(2)).float(), (powers * 1.5).float(), halves])
    up = torch.nextafter(around, torch.full_like(around, math.inf))
    down = torch.nextafter(around, torch.full_like(around, -math.inf))
    usual = torch.randn(n, generator=generator)
    return torch.cat(
        [torch.tensor([0.0, -0.0, math.inf, -math.inf]), around, up, down, -around, -up, -down, patterns, usual]
    )


def assert_same_bits(got, expected):
    differs = got.view(torch.int32) != expected.view(torch.int32)
    assert not differs.any(), (got[differs][:5], expected[differs][:5])


def seed_of(number):
    return None if number is None else torch.tensor(number)


def rounding_of(number):
    return "deterministic" if number is None else "stochastic"


def check_q(weight, bits, seed):
    expected = power_of_two_q_reference(weight, bits, rounding_of(seed), seed)
    assert_same_bits(ops.power_of_two_q(weight, bits, seed_of(seed)), expected)


def check_ps(shift, sign, bits, seed):
    expected = power_of_two_ps_reference(shift, sign, bits, rounding_of(seed), seed)
    assert_same_bits(ops.power_of_two_ps(shift, sign, bits, seed_of(seed)), expected)


def check_fixed_point(x, integer_bits, fraction_bits, rounding, seed):
    number = seed if rounding == "stochastic" else None
    expected = fixed_point_reference(x, integer_bits, fraction_bits, rounding, number)
    assert_same_bits(ops.fixed_point(x, integer_bits, fraction_bits, rounding, seed_of(number)), expected)


@profile
@given(values=FLOATS, bits=WEIGHT_BITS, seed=SEEDS)
def test_q(isa, values, bits, seed):
    check_q(torch.tensor(values), bits, seed)


@profile
@given(values=FLOATS, signs=FLOATS, bits=WEIGHT_BITS, seed=SEEDS)
def test_ps(isa, values, signs, bits, seed):
    n = min(len(values), len(signs))
    check_ps(torch.tensor(values[:n]), torch.tensor(signs[:n]), bits, seed)


@profile
@given(
    values=FLOATS,
    integer_bits=BITS,
    fraction_bits=BITS,
    rounding=st.sampled_from(["floor", "nearest", "stochastic"]),
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_fixed_point(isa, values, integer_bits, fraction_bits, rounding, seed):
    check_fixed_point(torch.tensor(values), integer_bits, fraction_bits, rounding, seed)


@pytest.mark.parametrize("seed", [None, 123456789012345])
def test_weights_of_every_kind(isa, seed):
    weight = every_kind_of_float(20_000)
    sign = every_kind_of_float(20_000, seed=1)[torch.randperm(len(weight), generator=torch.Generator().manual_seed(2))]
    for bits in range(2, 9):
        check_q(weight, bits, seed)
        check_ps(weight, sign, bits, seed)
        check_ps(sign * 40, weight, bits, seed)


@pytest.mark.parametrize("rounding", ["floor", "nearest", "stochastic"])
def test_activations_of_every_kind(isa, rounding):
    x = every_kind_of_float(5_000)
    for integer_bits in range(1, 33):
        for fraction_bits in (1, 2, 7, 8, 15, 16, 24, 31, 32):
            check_fixed_point(x, integer_bits, fraction_bits, rounding, 5)


def test_every_fraction_rounds_at_the_square_root_of_two(isa):
    fractions = torch.arange(0x3F000000, 0x3F800000, dtype=torch.int32).view(torch.float32)
    check_q(fractions, 4, None)
    check_q(fractions, 4, 9)


@profile
@given(grads=FLOATS, values=FLOATS)
def test_backward_of_ps(isa, grads, values):
    n = min(len(grads), len(values))
    grad, value = torch.tensor(grads[:n]), torch.tensor(values[:n])
    got = ops.power_of_two_ps_backward(grad, value)
    expected = grad * value * math.log(2.0)
    assert torch.equal(got.nan_to_num(nan=0.25), expected.nan_to_num(nan=0.25))
    assert torch.equal(got.isnan(), expected.isnan())


def check_relu(x, shortcut, integer_bits, fraction_bits, rounding, seed):
    """Values, bits and gradients of the fused ops equal those of their parts, in torch."""
    number = seed if rounding == "stochastic" else None
    arguments = (integer_bits, fraction_bits, rounding, seed_of(number))
    inputs_of_each = []
    outputs = []
    for is_fused in (True, False):
        a, b = (t.clone().requires_grad_() for t in (x, shortcut))
        if is_fused:
            alone, _ = ops.relu_fixed_point(a, *arguments)
            both, rounded, _ = ops.add_relu_fixed_point(a, b, *arguments)
        else:
            alone, both = torch.relu(a), torch.relu(a + b)
            with use_implementation(Implementation.REFERENCE):
                alone, rounded = ops.fixed_point(alone, *arguments), ops.fixed_point(both, *arguments)
        inputs_of_each.append((a, b))
        outputs.append((alone, both, rounded))
    for fused, parts in zip(*outputs, strict=True):
        assert_same_bits(fused.detach(), parts.detach())
    grads = [torch.randn(x.shape, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    for chosen in ([0], [1], [2], [1, 2], [0, 1, 2]):
        got, expected = (
            torch.autograd.grad([out[i] for i in chosen], given, [grads[i] for i in chosen], True, allow_unused=True)
            for out, given in zip(outputs, inputs_of_each, strict=True)
        )
        for fused, parts in zip(got, expected, strict=True):
            assert (fused is None) == (parts is None)
            assert fused is None or torch.equal(fused, parts)


@profile
@given(
    values=FLOATS,
    others=FLOATS,
    integer_bits=BITS,
    fraction_bits=BITS,
    rounding=st.sampled_from(["floor", "nearest", "stochastic"]),
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_relu_and_fixed_point(isa, values, others, integer_bits, fraction_bits, rounding, seed):
    n = min(len(values), len(others))
    check_relu(torch.tensor(values[:n]), torch.tensor(others[:n]), integer_bits, fraction_bits, rounding, seed)


LAYOUTS = {
    "contiguous": lambda: torch.randn(3, 5, 4, 6),
    "channels last": lambda: torch.randn(3, 5, 4, 6).to(memory_format=torch.channels_last),
    "transposed": lambda: torch.randn(3, 5, 4, 6).permute(3, 1, 0, 2),
    "sliced and dense": lambda: torch.randn(9, 5, 4, 6)[3:6],
    "empty": lambda: torch.randn(0, 4),
    "scalar": lambda: torch.randn(()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_kept_and_agree_with_the_reference(isa, layout):
    torch.manual_seed(0)
    x = LAYOUTS[layout]()
    sign = torch.empty_like(x).uniform_(-1, 1)
    for seed in (None, 3):
        check_q(x, 5, seed)
        check_ps(x * 5, sign, 5, seed)
        check_fixed_point(x, 4, 3, "nearest" if seed is None else "stochastic", seed)
        check_relu(x, sign, 4, 3, "nearest" if seed is None else "stochastic", seed)
        with use_implementation(Implementation.AUTO):
            check_relu(x, torch.randn(x.shape), 4, 3, "floor", None)
    for got in (ops.power_of_two_q(x, 5), ops.power_of_two_ps(x, sign, 5), ops.fixed_point(x, 4, 3, "floor")):
        assert got.stride() == x.stride()


@pytest.mark.parametrize("make", [lambda: torch.randn(8, 6)[:, ::2], lambda: torch.randn(3).expand(4, 3)])
def test_memory_with_gaps_or_overlap_takes_the_reference_or_is_refused(make):
    x = make()
    for seed in (None, 3):
        check_q(x, 5, seed)
        check_ps(x, x, 5, seed)
        check_fixed_point(x, 4, 3, "stochastic", 3)
        check_relu(x, x, 4, 3, "stochastic", 3)
    assert_same_bits(ops.power_of_two_ps(x, x.contiguous(), 5), power_of_two_ps_reference(x, x, 5))
    with (
        use_implementation(Implementation.COMPILED),
        pytest.raises(KernelError, match=r"power_of_two_q: .* dense float32"),
    ):
        power_of_two_q(x, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_take_the_reference_or_are_refused(dtype):
    x = torch.randn(40).to(dtype)
    assert torch.equal(fixed_point(x, 4, 3), fixed_point_reference(x, 4, 3))
    with use_implementation(Implementation.COMPILED), pytest.raises(KernelError, match=f"fixed_point: .*{dtype}"):
        fixed_point(x, 4, 3)


def test_reference_and_compiled_run_where_they_are_asked_for(monkeypatch):
    x = torch.randn(5)

    def refuse(*_):
        raise AssertionError("the compiled kernel was called")

    # the module: the package has a function of its name
    monkeypatch.setattr(sys.modules[fixed_point.__module__], "typed", refuse)
    with use_implementation(Implementation.REFERENCE):
        assert_same_bits(fixed_point(x, 4, 3), fixed_point_reference(x, 4, 3))
    with pytest.raises(AssertionError, match="compiled kernel was called"):
        fixed_point(x, 4, 3)


@pytest.mark.parametrize("n", [1, 3, 255, 256, 257, 200_001])
def test_threads_do_not_matter(isa, n):
    x = torch.randn(n, generator=torch.Generator().manual_seed(0)) * 3
    n_threads = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        seed = torch.tensor(77)
        results.append(
            torch.stack(
                [
                    ops.fixed_point(x, 4, 3, "stochastic", seed),
                    ops.power_of_two_q(x, 4, seed),
                    ops.power_of_two_ps(x, x, 4, seed),
                    ops.power_of_two_ps_backward(x, x),
                    ops.fixed_point(x, 4, 3, "floor"),
                    ops.relu_fixed_point(x, 4, 3, "stochastic", seed)[0],
                    *ops.add_relu_fixed_point(x, x, 4, 3, "floor")[:2],
                    ops.relu_backward(x, x, ops.relu_fixed_point(x, 4, 3, "floor")[1]),
                ]
            )
        )
    torch.set_num_threads(n_threads)
    assert_same_bits(results[1], results[0])
    assert_same_bits(results[2], results[0])


@pytest.mark.parametrize("implementation", [Implementation.REFERENCE, Implementation.COMPILED])
@pytest.mark.parametrize(
    "op",
    [
        lambda x, _: power_of_two_q(x, 4),
        lambda x, _: power_of_two_q(x, 4, "stochastic"),
        lambda x, s: power_of_two_ps(x, s, 4),
        lambda x, s: power_of_two_ps(x, s, 4, "stochastic"),
        lambda x, _: fixed_point(x, 4, 4),
        lambda x, _: fixed_point(x, 4, 4, "stochastic"),
        lambda x, _: relu_fixed_point(x, 4, 4),
        lambda x, _: relu_fixed_point(x, 4, 4, "stochastic"),
        lambda x, s: torch.stack(add_relu_fixed_point(x, s, 4, 4)),
        lambda x, s: torch.stack(add_relu_fixed_point(x, s, 4, 4, "stochastic")),
        lambda x, s: ops.relu_backward(x, s, ops.relu_fixed_point(s, 4, 4, "floor")[1]),
    ],
)
def test_torchs_defaults_of_dtype_and_device_do_not_matter(op, implementation):
    x, s = torch.randn(2, 37)

    def run():
        torch.manual_seed(1)
        inputs = x.clone().requires_grad_(), s.clone().requires_grad_()
        y = op(*inputs)
        return y, *torch.autograd.grad(y, inputs, x.expand_as(y), allow_unused=True)

    with use_implementation(implementation):
        expected = run()
        torch.set_default_dtype(torch.float64)
        try:
            in_double = run()
        finally:
            torch.set_default_dtype(torch.float32)
        with torch.device("meta"):
            beside_meta = run()
    for others in in_double, beside_meta:
        for want, got in zip(expected, others, strict=True):
            assert (want is None) == (got is None)
            if want is not None:
                torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)


def test_the_inputs_are_not_changed(isa):
    x = torch.randn(1000)
    before = x.clone()
    power_of_two_q(x, 4), power_of_two_ps(x, x, 4), fixed_point(x, 4, 4)
    assert torch.equal(x, before)


def test_manual_seed_repeats_and_calls_differ(isa):
    x = torch.randn(1000)

    def drawn():
        return torch.stack(
            [
                fixed_point(x, 4, 4, "stochastic"),
                power_of_two_q(x, 4, "stochastic"),
                power_of_two_ps(x, x, 4, "stochastic"),
            ]
        )

    torch.manual_seed(4)
    first, second = drawn(), drawn()
    torch.manual_seed(4)
    assert torch.equal(drawn(), first)
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.manual_seed(4)
    with use_implementation(Implementation.REFERENCE):
        assert torch.equal(drawn(), first)


def inputs(requires_grad=True):
    torch.manual_seed(0)
    x = torch.randn(3, 4, requires_grad=requires_grad)
    return x, torch.randn(3, 4, requires_grad=requires_grad)


CALLS = [
    (ops.power_of_two_q.default, lambda x, s: (x, 4)),
    (ops.power_of_two_q.default, lambda x, s: (x, 4, torch.tensor(5))),
    (ops.power_of_two_ps.default, lambda x, s: (x, s, 4)),
    (ops.power_of_two_ps.default, lambda x, s: (x, s, 4, torch.tensor(5))),
    (ops.power_of_two_ps_backward.default, lambda x, s: (x, s)),
    (ops.relu_fixed_point.default, lambda x, s: (x, 4, 4, "floor")),
    (ops.relu_fixed_point.default, lambda x, s: (x, 4, 4, "stochastic", torch.tensor(5))),
    (ops.add_relu_fixed_point.default, lambda x, s: (x, s, 4, 4, "floor")),
    (ops.add_relu_fixed_point.default, lambda x, s: (x, s, 4, 4, "stochastic", torch.tensor(5))),
    (ops.relu_backward.default, lambda x, s: (x, s, torch.tensor([5, 7], dtype=torch.uint8))),
    (ops.relu_backward.default, lambda x, s: (x, None, torch.tensor([5, 7], dtype=torch.uint8))),
    (ops.fixed_point.default, lambda x, s: (x, 4, 4, "floor")),
    (ops.fixed_point.default, lambda x, s: (x, 4, 4, "stochastic", torch.tensor(5))),
]


@pytest.mark.parametrize(("op", "arguments"), CALLS)
@pytest.mark.parametrize("requires_grad", [True, False])
def test_opcheck(op, arguments, requires_grad):
    opcheck(op, arguments(*inputs(requires_grad)))


def quantised(x, s, rounding):
    activation = fixed_point(x, 4, 4, "stochastic" if rounding == "stochastic" else "floor")
    rectified, rounded = add_relu_fixed_point(x, s, 4, 4)
    total = activation * power_of_two_q(x, 4, rounding) + power_of_two_ps(x * 3, s, 4, rounding) * 2
    return (total + rectified * 3 + rounded * s + relu_fixed_point(s, 4, 4) * x).sum()


@pytest.mark.parametrize(
    ("backend", "rounding"),
    [
        ("aot_eager", "deterministic"),
        ("aot_eager", "stochastic"),
        # Inductor draws random numbers, the seed among them, in its own way: only deterministic rounding is comparable.
        pytest.param("inductor", "deterministic", marks=pytest.mark.slow),
    ],
)
# torch's own, raised while Inductor is imported
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiles_as_one_graph(backend, rounding):
    results = []
    for function in (quantised, torch.compile(quantised, fullgraph=True, backend=backend)):
        x, s = inputs()
        torch.manual_seed(8)
        value = function(x, s, rounding)
        value.backward()
        results.append([value.detach(), x.grad, s.grad])
    for eager, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, eager)


def test_second_derivatives_of_ps():
    shift, sign = (t.double().detach().requires_grad_() for t in inputs())
    weights = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    value = power_of_two_ps(shift, sign, 4)
    (grad,) = torch.autograd.grad((value * weights).sum(), shift, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), weights, retain_graph=True)
    torch.testing.assert_close(second, value.detach() * math.log(2))
    (third,) = torch.autograd.grad(grad.sum(), shift)
    torch.testing.assert_close(third, weights.detach() * value.detach() * math.log(2) ** 2)


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        (lambda: power_of_two_q(torch.zeros(2, dtype=torch.int32), 4), TypeError, "power_of_two_q .*torch.int32"),
        (lambda: fixed_point(torch.zeros(2, dtype=torch.int64), 4, 4), TypeError, "fixed_point .*torch.int64"),
        (lambda: power_of_two_ps(torch.zeros(2), torch.zeros(2).double(), 4), TypeError, "float32, torch.float64"),
        (lambda: power_of_two_ps(torch.zeros(2), torch.zeros(3), 4), ValueError, r"one shape, not \(2,\) and \(3,\)"),
        (lambda: add_relu_fixed_point(torch.zeros(2), torch.zeros(3), 4, 4), ValueError, r"one shape, not \(2,\)"),
        (lambda: relu_fixed_point(torch.zeros(2).int(), 4, 4), TypeError, "torch.int32"),
        (lambda: ops.relu_backward(torch.zeros(9), None, torch.zeros(1).byte()), ValueError, "a bit for each element"),
        (lambda: ops.relu_backward(torch.zeros(8), torch.zeros(7), torch.zeros(1).byte()), ValueError, "of one shape"),
        (
            lambda: ops.relu_backward(torch.zeros(16), None, torch.zeros(4).byte()[::2]),
            ValueError,
            "contiguous, not of",
        ),
        (
            lambda: add_relu_fixed_point(torch.zeros(2), torch.zeros(2, device="meta"), 4, 4),
            ValueError,
            "one device, not on cpu and meta",
        ),
        (lambda: power_of_two_q(torch.zeros(2), 9), ValueError, "weight_bits must be 2 to 8, not 9"),
        (lambda: fixed_point(torch.zeros(2), 33, 4), ValueError, "integer_bits must be 1 to 32, not 33"),
        (lambda: fixed_point(torch.zeros(2), 4, 4, "up"), ValueError, "not 'up'"),
        (lambda: power_of_two_q(torch.zeros(2), 4, "up"), ValueError, "not 'up'"),
        (lambda: fixed_point(torch.zeros(2, device="meta"), 0, 4), ValueError, "integer_bits must be 1 to 32, not 0"),
    ],
)
def test_mistakes_are_named(call, error, reason):
    with pytest.raises(error, match=reason):
        call()
