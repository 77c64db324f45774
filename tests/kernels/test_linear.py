"""Linear layers with packed weights: integers bit for bit, floats to the rounding of their sums."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.library import opcheck
from torch.nn import functional as F

from dsnn_hpo.kernels import (
    Implementation,
    PackedWeight,
    linear_int8,
    linear_int8_reference,
    linear_packed,
    pack,
    use_implementation,
)

profile = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def layers(draw: st.DrawFn) -> tuple[torch.Tensor, PackedWeight, torch.Tensor | None]:
    """Returns an input, a packed weight and a bias."""
    m, k, n = draw(st.tuples(st.integers(1, 30), st.integers(1, 140), st.integers(1, 90)))
    bits, has_zero = draw(st.integers(2, 6)), draw(st.booleans())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    powers = torch.randint(0, 2 ** (bits - 1) - has_zero, (n, k), generator=generator) - draw(st.integers(0, 20))
    weight = torch.ldexp(torch.randint(0, 2, (n, k), generator=generator) * 2.0 - 1, powers)
    if has_zero:
        weight[torch.rand(n, k, generator=generator) < 0.2] = 0.0
    x = torch.randn(m, k, generator=generator) * 10.0 ** draw(st.integers(-3, 3))
    x[torch.rand(m, generator=generator) < 0.1] = 0.0
    bias = torch.randn(n, generator=generator) if draw(st.booleans()) else None
    return x, pack(weight, bits), bias


@profile
@given(layer=layers())
def test_integers_equal_the_reference_bit_for_bit(
    each_isa: str, layer: tuple[torch.Tensor, PackedWeight, torch.Tensor | None]
) -> None:
    with use_implementation(Implementation.COMPILED):
        assert torch.equal(linear_int8(*layer), linear_int8_reference(*layer))


@profile
@given(layer=layers())
def test_floats_agree_with_float64(
    each_isa: str, layer: tuple[torch.Tensor, PackedWeight, torch.Tensor | None]
) -> None:
    x, weight, bias = layer
    dense = weight.unpack(torch.float64)
    expected = F.linear(x.double(), dense, None if bias is None else bias.double())
    # Each of k sums rounds by at most 2**-24 of the sum of magnitudes; k stays below 140.
    bound = F.linear(x.double().abs(), dense.abs()) * 140 * 2.0**-24 + expected.abs() * 2.0**-22 + 1e-30
    with use_implementation(Implementation.COMPILED):
        assert ((linear_packed(x, weight, bias).double() - expected).abs() <= bound).all()


def test_threads_share_large_work(each_isa: str) -> None:
    generator = torch.Generator().manual_seed(5)
    weight = pack(torch.ldexp(torch.ones(1000, 1200), torch.randint(-6, 1, (1000, 1200), generator=generator)), 4)
    before = torch.get_num_threads()
    for m in (1, 3, 70):
        x = torch.randn(m, 1200, generator=generator)
        results = []
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            results.append(linear_int8(x, weight))
        torch.set_num_threads(before)
        assert all(torch.equal(result, linear_int8_reference(x, weight)) for result in results)


@pytest.mark.parametrize("op", [linear_int8, linear_packed])
def test_leading_dimensions_are_kept(op: object) -> None:
    x, weight = torch.randn(2, 3, 8), pack(torch.ones(5, 8))
    assert op(x, weight).shape == (2, 3, 5)
    assert op(x[0, 0], weight).shape == (5,)
    assert op(x[:0], weight).shape == (0, 3, 5)
    assert torch.equal(op(x, weight)[1, 2], op(x[1, 2], weight))


def test_rows_are_rounded_each_by_itself() -> None:
    x, weight = torch.randn(9, 33), pack(torch.ldexp(torch.ones(17, 33), torch.randint(-3, 1, (17, 33))))
    together = linear_int8(x, weight)
    assert all(torch.equal(together[i], linear_int8(x[i], weight)) for i in range(9))


@pytest.mark.parametrize("x", [torch.zeros(2, 8), torch.full((2, 8), 2.0**-120), torch.full((2, 8), 1e-45)])
def test_rows_too_small_to_scale_are_zeros(x: torch.Tensor) -> None:
    bias = torch.randn(3)
    assert torch.equal(linear_int8(x, pack(torch.ones(3, 8)), bias), bias.expand(2, 3))


@pytest.mark.parametrize("implementation", [Implementation.REFERENCE, Implementation.COMPILED])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n_rows", [1, 700])
def test_infinite_activations_are_refused(implementation: Implementation, value: float, n_rows: int) -> None:
    x = torch.ones(n_rows, 100)
    x[-1, 7] = value
    with use_implementation(implementation), pytest.raises(ValueError, match="x has NaN or infinite values"):
        linear_int8(x, pack(torch.ones(40, 100)))


@pytest.mark.parametrize("implementation", [Implementation.REFERENCE, Implementation.COMPILED])
@pytest.mark.parametrize("op", [linear_int8, linear_packed])
@pytest.mark.parametrize(
    ("x", "weight", "bias", "error", "message"),
    [
        (torch.ones(2, 8).double(), torch.ones(3, 8), None, TypeError, "x must be torch.float32, not torch.float64"),
        (torch.ones(40, 8).double(), torch.ones(3, 8), None, TypeError, "x must be torch.float32, not torch.float64"),
        (torch.ones(40, 7), torch.ones(3, 8), None, ValueError, r"x must be of shape \(any, 8\), not \(40, 7\)"),
        (torch.ones(2, 7), torch.ones(3, 8), None, ValueError, r"x must be of shape \(any, 8\), not \(2, 7\)"),
        (torch.ones(2, 8), torch.ones(3, 8), torch.ones(2), ValueError, r"bias must be of shape \(3\), not \(2,\)"),
        (torch.ones(2, 8), torch.ones(3, 8), torch.ones(3).half(), TypeError, "bias must be torch.float32"),
        (torch.ones(2, 8), torch.ones(3, 8, 1, 1), None, ValueError, r"needs a weight of shape \(n, k\)"),
    ],
)
def test_a_wrong_argument_is_named(
    implementation: Implementation,
    op: object,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    error: type[Exception],
    message: str,
) -> None:
    with use_implementation(implementation), pytest.raises(error, match=message):
        op(x, pack(weight), bias)


@pytest.mark.parametrize("op", [linear_int8, linear_packed])
@pytest.mark.parametrize("n_rows", [3, 40])
def test_gradients_are_those_of_the_float_layer(op: object, n_rows: int) -> None:
    weight = pack(torch.ldexp(torch.ones(6, 12), torch.randint(-3, 1, (6, 12))))
    x, bias = torch.randn(n_rows, 12, requires_grad=True), torch.randn(6, requires_grad=True)
    grad = torch.randn(n_rows, 6)
    op(x, weight, bias).backward(grad)
    assert torch.allclose(x.grad, grad @ weight.unpack())
    assert torch.allclose(bias.grad, grad.sum(0))


@pytest.mark.parametrize("name", ["linear_int8", "linear_packed"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_is_a_well_made_op(name: str, requires_grad: bool) -> None:
    weight = pack(torch.ldexp(torch.ones(6, 12), torch.randint(-3, 1, (6, 12))))
    x, bias = torch.randn(3, 12, requires_grad=requires_grad), torch.randn(6, requires_grad=requires_grad)
    tensors = (weight.codes, weight.exponents, weight.n_planes, weight.row_sums, weight.scales)
    op = getattr(torch.ops.dsnn_hpo, name).default
    opcheck(op, (x, *tensors, bias, [6, 12], weight.bits, weight.has_zero))


@pytest.mark.parametrize("op", [linear_int8, linear_packed])
@pytest.mark.parametrize("n_rows", [3, 40])
def test_compiles_into_one_graph(op: object, n_rows: int) -> None:
    weight = pack(torch.ldexp(torch.ones(6, 12), torch.randint(-3, 1, (6, 12))))
    x = torch.randn(n_rows, 12)
    compiled = torch.compile(lambda x: op(x, weight).relu(), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), op(x, weight).relu())


def test_a_used_weight_can_be_copied_and_stored() -> None:
    weight, x = pack(torch.ones(3, 8)), torch.randn(2, 8)
    expected = linear_int8(x, weight)
    for other in (copy.deepcopy(weight), pickle.loads(pickle.dumps(weight))):  # noqa: S301
        assert torch.equal(linear_int8(x, other), expected)


@pytest.mark.parametrize("op", [linear_int8, linear_packed])
def test_negated_views_keep_their_sign(op: object) -> None:
    x, weight = torch.randn(2, 8), pack(torch.ones(3, 8))
    assert torch.allclose(op(torch._neg_view(x), weight), op(-x, weight))


@pytest.mark.parametrize("op", [linear_int8, linear_packed])
@pytest.mark.parametrize("n_rows", [2, 40])
def test_torchs_defaults_do_not_matter(op: object, n_rows: int) -> None:
    x, weight = torch.randn(n_rows, 8), pack(torch.ones(3, 8))
    expected = op(x, weight)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            result = op(x, weight)
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


def test_a_weight_used_in_inference_mode_can_train_others() -> None:
    weight, x = pack(torch.ones(3, 8)), torch.randn(40, 8)
    with torch.inference_mode():
        linear_packed(x, weight)
    y = x.clone().requires_grad_()
    linear_packed(y, weight).sum().backward()
    assert torch.allclose(y.grad, torch.full((40, 8), 3.0))
