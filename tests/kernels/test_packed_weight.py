"""The packed layout: what goes in comes out, in exactly the bits that were asked for."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.kernels import PackedWeight, pack


@st.composite
def weights(draw: st.DrawFn, *, bits: int | None = None) -> tuple[torch.Tensor, int, int]:
    """Returns a weight of powers of two, its code bits and its groups."""
    bits = draw(st.integers(2, 6)) if bits is None else bits
    has_zero = draw(st.booleans())
    n_exponents = 2 ** (bits - 1) - has_zero
    groups = draw(st.sampled_from([1, 1, 2, 5]))
    kind = draw(st.sampled_from(["linear", "conv", "depthwise"]))
    if kind == "linear":
        groups, shape = 1, (draw(st.integers(1, 70)), draw(st.integers(1, 70)))
    elif kind == "conv":
        size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        shape = (groups * draw(st.integers(1, 35)), draw(st.integers(1, 9)), *size)
    else:
        groups = draw(st.integers(2, 40))
        shape = (groups, 1, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    powers = torch.randint(0, n_exponents, shape, generator=generator)
    base = torch.randint(-40, 3, (shape[0], *[1] * (len(shape) - 1)), generator=generator)
    sign = torch.randint(0, 2, shape, generator=generator) * 2.0 - 1
    weight = torch.ldexp(sign, powers + base)
    if has_zero:
        weight[torch.rand(shape, generator=generator) < 0.2] = 0.0
    return weight, bits, groups


@settings(max_examples=150, deadline=None)
@given(weights())
def test_what_was_packed_comes_out(case: tuple[torch.Tensor, int, int]) -> None:
    weight, bits, groups = case
    packed = pack(weight, bits, groups=groups)
    assert torch.equal(packed.unpack(), weight)
    assert packed.bits == bits
    assert torch.equal(packed.row_sums, packed.integers().flatten(1).sum(1))
    fewest = pack(weight, groups=groups)
    assert fewest.bits <= bits
    assert torch.equal(fewest.unpack(), weight)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_a_weight_takes_its_bits(bits: int) -> None:
    weight = torch.ldexp(torch.ones(64, 256), torch.randint(0, 2 ** (bits - 1), (64, 256)))
    assert pack(weight, bits).codes.numel() == 64 * 256 * bits // 8


def test_the_layout_is_as_documented() -> None:
    weight = torch.ones(16, 16)
    weight[3, 6] = -4.0  # relative power 2: code 0b1010
    packed = pack(weight, 4)
    vector = torch.zeros(128, dtype=torch.uint8)
    vector[3 * 4 + 2] = 0b1010 << 4  # quad 1 is the high half of vector 0
    assert torch.equal(packed.codes, vector)


def test_planes_count_what_does_not_fit_an_int8() -> None:
    weight = torch.ones(33, 8)
    weight[0, 0], weight[16, 0], weight[32, 0] = 2.0**6, 2.0**7, 2.0**14
    assert pack(weight).n_planes.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("weight", "bits", "groups", "error", "message"),
    [
        (torch.tensor([[0.5, 3.0]]), None, 1, ValueError, r"weight\[0, 1\] is 3.0, expected zero or a signed power"),
        (torch.tensor([[0.5, math.nan]]), None, 1, ValueError, r"weight\[0, 1\] is nan"),
        (torch.tensor([[math.inf, 1.0]]), None, 1, ValueError, r"weight\[0, 0\] is inf"),
        (torch.tensor([[1, 2]]), None, 1, TypeError, "floating-point dtype, not torch.int64"),
        (torch.ones(3), None, 1, ValueError, r"\(n, k\) or \(n, c, kh, kw\)"),
        (torch.ones(0, 3), None, 1, ValueError, "not empty"),
        (torch.ones(3, 1, 1, 1), None, 2, ValueError, "groups is 2"),
        (torch.ones(2, 2), 7, 1, ValueError, "bits must be 2 to 6"),
        (torch.ones(2, 2), True, 1, ValueError, "bits must be 2 to 6"),
        (torch.tensor([[1.0, 1.0], [1.0, 4.0]]), 2, 1, ValueError, "row 1 of the weight uses exponents 3 wide; 2 bits"),
        (torch.tensor([[1.0, 0.0], [2.0, 1.0]]), 2, 1, ValueError, "2 wide and zero; 2 bits hold 1"),
        (torch.tensor([[1.0, 2.0**40]]), None, 1, ValueError, "uses exponents 41 wide, expected at most 32"),
        (torch.tensor([[1.0, 2.0**31, 0.0]]), None, 1, ValueError, "32 wide and zero; 6 bits, the most, hold 31"),
        (torch.ones(1, 2**17 + 1), None, 1, ValueError, "too long to pack"),
    ],
)
def test_what_cannot_be_packed_is_named(
    weight: torch.Tensor, bits: int | None, groups: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pack(weight, bits, groups=groups)


def test_small_and_wide_dtypes_pack_alike() -> None:
    weight = torch.tensor([[0.5, -0.25, 0.0]])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        packed = pack(weight.to(dtype))
        assert isinstance(packed, PackedWeight)
        assert torch.equal(packed.unpack(dtype), weight.to(dtype))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"shape": (5, 99)}, ValueError, "codes of a packed weight of shape"),
        ({"bits": 7}, ValueError, "bits must be 2 to 6, not 7"),
        ({"exponents": torch.zeros(4, dtype=torch.int16)}, ValueError, "exponents of a packed weight"),
        ({"exponents": torch.zeros(5)}, TypeError, "exponents of a packed weight must be torch.int16"),
        ({"groups": 2}, ValueError, "groups is 2"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dataclasses.replace(pack(torch.ones(5, 8)), **changes)
