"""The linear layer with packed weights in Triton: integers equal the reference's, floats have exact products."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dsnn_hpo.kernels import PackedWeight, pack
from dsnn_hpo.kernels.linear import linear_int8_reference
from dsnn_hpo.kernels.packed_weight import Layout

pytest.importorskip("triton", reason="triton is not installed")
linear = pytest.importorskip("dsnn_hpo.kernels.triton.linear")
dense_linear = pytest.importorskip("dsnn_hpo.kernels.triton.dense_linear")
facts = pytest.importorskip("dsnn_hpo.kernels.triton._facts")

# The interpreter is too slow to shrink a failing case in.
profile = settings(
    derandomize=True,
    deadline=None,
    max_examples=15,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Relative to the largest output. float32: sums in another order, of a matrix unit that may cut the last bits;
# the others: the rounding of the output, half a unit in the last place.
TOLERANCES = {torch.float32: 5e-6, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


def random_weight(
    shape: tuple[int, int], bits: int, has_zero: bool, generator: torch.Generator, highest: int = 0
) -> PackedWeight:
    """Returns a weight that uses every exponent of its code in every row, from ``highest`` or lower down."""
    n_exponents = 2 ** (bits - 1) - has_zero
    powers = torch.randint(0, n_exponents, shape, generator=generator)
    powers[:, 0] = 0
    base = highest + 1 - n_exponents - torch.randint(0, 4, (shape[0], 1), generator=generator)
    weight = torch.ldexp(torch.randint(0, 2, shape, generator=generator) * 2.0 - 1, powers + base)
    if has_zero:
        weight[torch.rand(shape, generator=generator) < 0.2] = 0.0
        weight[0, 0] = 0.0
    return pack(weight, bits)


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, PackedWeight, Tensor | None]:
    """Returns activations, weight and bias, of shapes that fit no tile."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    m, n, k = draw(st.sampled_from([1, 2, 17, 64, 70])), draw(st.integers(1, 90)), draw(st.integers(1, 400))
    packed = random_weight((n, k), draw(st.integers(2, 6)), draw(st.booleans()), generator)
    x = torch.randn(m, k, generator=generator) * draw(st.sampled_from([1e-38, 1.0, 1e30]))
    if draw(st.booleans()):
        x[0] = 0.0
    return x, packed, torch.randn(n, generator=generator) if draw(st.booleans()) else None


def to(device: str, *values: Tensor | PackedWeight | None) -> list:
    return [value if value is None else value.to(device) for value in values]


@profile
@given(layers())
def test_integers_equal_the_reference(device, case):
    expected = linear_int8_reference(*case)
    x, packed, bias = to(device, *case)
    planes = facts.largest_plane(packed.n_planes)
    got = dense_linear.dense_linear_int8(x, packed, packed.scales, planes, bias)
    assert torch.equal(got.cpu(), expected)
    if planes <= linear.MAX_PLANES:
        got = linear.packed_linear_int8(x, packed, packed.scales, planes, bias)
        assert torch.equal(got.cpu(), expected)


@profile
@given(layers(), st.sampled_from(list(TOLERANCES)))
def test_floats_are_within_the_rounding_of_sums(device, case, dtype):
    x, packed, bias = case
    x = (x / x.abs().max().clamp_min(1e-38)).to(dtype)
    expected = x.double() @ packed.unpack(torch.float64).T + (0.0 if bias is None else bias.double())
    tolerance = TOLERANCES[dtype] * expected.abs().max().item()
    x, packed, bias = to(device, x, packed, bias)
    got = linear.packed_linear(x, packed, bias)
    assert got.dtype is dtype
    torch.testing.assert_close(got.cpu().double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("bits", [4, 5])
def test_shares_of_the_columns_are_summed_in_one_order(device, bits):
    generator = torch.Generator().manual_seed(bits)
    k = 5000 if bits == 5 else 1500
    packed = random_weight((20, k), bits, False, generator)
    x = torch.randn(3, k, generator=generator)
    assert linear.tiling_for(3, packed, linear.operand_for(torch.float32, packed), 132).n_splits > 2
    expected = x.double() @ packed.unpack(torch.float64).T
    x, packed = to(device, x, packed)
    first = linear.packed_linear(x, packed)
    torch.testing.assert_close(first.cpu().double(), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    for _ in range(3 if device == "cuda" else 0):
        assert torch.equal(linear.packed_linear(x, packed), first)
    if bits < 5:
        planes = facts.largest_plane(packed.n_planes)
        got = linear.packed_linear_int8(x, packed, packed.scales, planes)
        assert torch.equal(got.cpu(), linear_int8_reference(x.cpu(), packed.to("cpu")))


def test_float_sums_pass_on_what_is_not_finite(device):
    packed = pack(torch.tensor([[1.0, -2.0, 0.0, 1.0]])).to(device)
    rows = [[math.inf, 0.0, 0.0, 0.0], [0.0, math.inf, 1.0, 0.0], [0.0, 0.0, math.inf, 0.0], [math.nan, 1.0, 1.0, 1.0]]
    x = torch.tensor(rows, device=device)
    got = linear.packed_linear(x, packed).cpu().flatten()
    assert got[:2].tolist() == [math.inf, -math.inf]
    assert got[2:].isnan().all()  # infinity times zero, and NaN


def test_a_row_that_8_bits_cannot_hold_becomes_nan(device):
    packed = random_weight((5, 40), 4, True, torch.Generator().manual_seed(0)).to(device)
    x = torch.randn(4, 40, device=device)
    x[1, 7], x[2, 39] = math.nan, -math.inf
    got = linear.packed_linear_int8(x, packed, packed.scales, 1)
    assert got.isnan().all(1).tolist() == [False, True, True, False]
    got = dense_linear.dense_linear_int8(x, packed, packed.scales, 1)
    assert got.isnan().all(1).tolist() == [False, True, True, False]


def test_a_tiling_covers_every_column_once():
    for bits in range(2, 7):
        for n, k in ((16, 16), (100, 3000), (4096, 4096), (28672, 8192)):
            layout = Layout((n, k))
            codes = torch.empty(layout.n_blocks * layout.block_bytes(bits), dtype=torch.uint8)
            packed = PackedWeight(codes, torch.empty(n, dtype=torch.int16), (n, k), bits, False)
            for rows in (1, 17, 64):
                for operand in (linear.INT8, *(linear.operand_for(dtype, packed) for dtype in TOLERANCES)):
                    tiling = linear.tiling_for(rows, packed, operand, 132)
                    n_steps = math.ceil(math.ceil(k / linear.unit_columns(bits)) / tiling.block_u)
                    steps = math.ceil(n_steps / tiling.n_splits)
                    assert (tiling.n_splits - 1) * steps < n_steps <= tiling.n_splits * steps


def test_other_dtypes_are_refused():
    packed = pack(torch.ones(2, 2))
    with pytest.raises(TypeError, match=r"x must be float16, bfloat16 or float32, not torch\.float64"):
        linear.operand_for(torch.float64, packed)
