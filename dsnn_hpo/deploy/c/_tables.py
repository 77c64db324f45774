"""Numbers as constant tables of C, and weights as the bytes that the functions in ``runtime`` read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from dsnn_hpo.kernels.packed_weight import PackedWeight
from dsnn_hpo.kernels.plan_weight import AdderWeight, Weight, WinogradWeight

LINE = 120
MAX_BITS = 2**32
"""Of a layer's codes: a place in them is an unsigned integer of 32 bits."""

SumKind: TypeAlias = Literal["shift32", "shift64", "two_term", "int8", "distance", "minimum", "winograd"]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedWeight:
    """A weight for C, row by row, of a row tap by tap, of a tap channel by channel.

    Attributes:
        kind: which function sums its rows.
        table: uint8, one dimension.
        correction: what to take off each row's sum, int64; None: nothing.
        bits: of a code; 0 where a weight is whole bytes.
        has_zero: whether a code of no magnitude stands for zero.
        signs: of a Winograd adder's outputs, see ``runtime/winograd.c``, uint8 (4, 16).
    """

    kind: SumKind
    table: Tensor
    correction: Tensor | None = None
    bits: int = 0
    has_zero: bool = False
    signs: Tensor | None = None


def encoded(weight: Weight, zero: int) -> EncodedWeight:
    """Returns the bytes of a weight for inputs of a zero point.

    int8 values that are all sums of two signed powers of two, as those of two-term layers are, become two shifts each;
    others stay what they are and are multiplied with.

    Raises:
        ValueError: there are more codes than can be counted.
    """
    if isinstance(weight, PackedWeight):
        return _shifts(weight, zero)
    if isinstance(weight, AdderWeight):
        return _adder(weight, zero)
    if isinstance(weight, WinogradWeight):
        return _winograd(weight)
    values = _in_order(weight.values.long())
    codes = _TWO_TERM_CODES[values + 128]
    if bool((codes >= 0).all()):
        return EncodedWeight("two_term", codes.to(torch.uint8))
    return EncodedWeight("int8", (values + 128).to(torch.uint8))


def table(name: str, c_type: str, values: Iterable[str]) -> str:
    """Returns the definition of a constant table."""
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > LINE:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return "\n".join([f"static const {c_type} {name}[] = {{", *lines, line, "};"])


def float_bits(values: Tensor | float) -> list[str]:
    """Returns the bits of float32 numbers as hexadecimal literals."""
    numbers = np.atleast_1d(np.asarray(values, dtype=np.float32)).view(np.uint32)
    return [f"0x{number:08x}u" for number in numbers.ravel().tolist()]


def _in_order(values: Tensor) -> Tensor:
    return values.permute(0, 2, 3, 1).reshape(-1)


def _shifts(weight: PackedWeight, zero: int) -> EncodedWeight:
    integers = weight.integers()
    largest = int(integers.abs().flatten(1).sum(1).max()) * max(zero, 255 - zero)
    values = _in_order(integers)
    if len(values) * weight.bits >= MAX_BITS:
        raise ValueError(f"{len(values)} weights of {weight.bits} bits are too many for one layer")
    magnitude = torch.log2(values.abs().clamp_min(1).double()).round().long() + int(weight.has_zero)
    magnitude = torch.where(values == 0, 0, magnitude)
    codes = (magnitude | ((values < 0).long() << (weight.bits - 1))).numpy().astype(np.uint8)
    bits = (codes[:, None] >> np.arange(weight.bits, dtype=np.uint8)) & 1
    # A code is read from two bytes: one more than the last one needs.
    packed = np.append(np.packbits(bits.ravel(), bitorder="little"), np.uint8(0))
    kind: SumKind = "shift32" if largest < 2**31 else "shift64"
    return EncodedWeight(kind, torch.from_numpy(packed), bits=weight.bits, has_zero=weight.has_zero)


def _adder(weight: AdderWeight, zero: int) -> EncodedWeight:
    values, rest = _clamped(weight.values.long() + zero)
    if weight.operation == "distance":
        return EncodedWeight("distance", _in_order(values).to(torch.uint8), rest)
    mirrored, more = _clamped(zero - weight.values.long())
    both = torch.stack((_in_order(values), _in_order(mirrored)), 1)
    return EncodedWeight("minimum", both.flatten().to(torch.uint8), rest - more)


def _winograd(weight: WinogradWeight) -> EncodedWeight:
    """Returns values of two bytes, from -32768 counted, place by place of a row, and the signs of their distances."""
    values = weight.values.long().flatten(2).transpose(1, 2).reshape(-1, 1) + 2**15
    both = torch.cat((values & 255, values >> 8), 1).flatten().to(torch.uint8)
    out = torch.tensor(weight.output_transform)
    signs = torch.einsum("pi,qj->pqij", out, out).reshape(4, 16)
    # The sums are those of distances taken negative.
    return EncodedWeight("winograd", both, signs=torch.where(signs > 0, 1, torch.where(signs < 0, 2, 0)))


def _clamped(q: Tensor) -> tuple[Tensor, Tensor]:
    """Returns q within 8 bits; a value beyond them is as far from every pixel as the nearer end is, and the rest more."""
    inside = q.clamp(0, 255)
    return inside, (q - inside).abs().flatten(1).sum(1)


def _two_term_codes() -> Tensor:
    """Returns the code of each value from -128 as two signed powers of two, -1 where it is no such sum.

    Zero is 1 - 1, and a single power twice its half, so that there are always two.
    """
    codes = torch.full((256,), -1, dtype=torch.int64, device="cpu")
    powers = [(sign << 3 | exponent, (-1) ** sign << exponent) for sign in (0, 1) for exponent in range(8)]
    for (one, a), (other, b) in itertools.product(powers, powers):
        if -127 <= a + b <= 127:
            codes[a + b + 128] = other << 4 | one
    return codes


_TWO_TERM_CODES = _two_term_codes()
