"""Weights that are signed powers of two, packed to sign and exponent codes of 2 to 6 bits: one layout for all kernels.

Rows are output channels. Columns are inputs; of a convolution (kh, kw, c) with c fastest, the c of each tap padded to a
multiple of 4 (a depthwise convolution has one column a tap). Four columns are a quad; 16 rows are a block, the last one
padded; each group of a grouped, not depthwise, convolution begins a block.

A code of b bits holds the sign in its highest bit and the magnitude m in the others: ``+-2**m``, or, in a weight that
has zeros, 0 for m = 0 and ``+-2**(m - 1)`` for the rest. A row's exponent is common to all its codes.

Codes are split from their low bits into fields of 4, 2 and 1 bits (3 = 2 + 1, 5 = 4 + 1, 6 = 4 + 2), so that b bits take
b bits. A block stores field after field. A field of f bits is a sequence of vectors of 64 bytes, 16 rows by 4 columns,
column fastest; byte by byte, vector v holds quad ``v * 8 / f + j`` at bit ``j * f``. A kernel thus takes 8 / f quads from
one load, each by one shift and one mask, in the order in which an instruction for sums of four products wants them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

MIN_CODE_BITS = 2
MAX_CODE_BITS = 6
BLOCK_ROWS = 16
QUAD = 4
VECTOR_BYTES = BLOCK_ROWS * QUAD
PLANE_EXPONENTS = 7
"""An int8 plane holds the magnitudes 2**0 to 2**6; larger ones lie in further planes, each worth 2**7 of the one before."""
MAX_COLUMNS = 2**17
"""255 * 64 * 2**17 is the largest sum of products that an int32 accumulator holds."""


class Facts(NamedTuple):
    """What kernels want to know of a weight besides its codes; see the properties of ``PackedWeight``."""

    n_planes: Tensor
    row_sums: Tensor
    scales: Tensor


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """A packed weight; make one with ``pack``.

    Attributes:
        codes: uint8, one dimension; the layout of the module's docstring.
        exponents: int16, shape (n_rows,): row n is its integers times ``2**exponents[n]``.
        shape: of the weight, (n_rows, k) or (n_rows, c // groups, kh, kw).
        bits: of a code, 2 to 6.
        has_zero: whether one magnitude stands for zero.
        groups: of the convolution, 1 for a linear layer.
        facts: what follows from the others, computed when it is first asked for.
        unpacked: ``dense``, once it was asked for.
    """

    codes: Tensor
    exponents: Tensor
    shape: tuple[int, ...]
    bits: int
    has_zero: bool
    groups: int = 1
    facts: Facts | None = field(default=None, repr=False)
    unpacked: Tensor | None = field(default=None, repr=False, init=False)

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError for tensors that are not those of a weight of this shape and format.

        Values are not looked at: any code stands for some weight.
        """
        if self.bits not in range(MIN_CODE_BITS, MAX_CODE_BITS + 1):
            raise ValueError(f"bits must be {MIN_CODE_BITS} to {MAX_CODE_BITS}, not {self.bits!r}")
        layout = _checked_layout(self.shape, self.groups)
        n_bytes = layout.n_blocks * layout.block_bytes(self.bits)
        tensors = [
            ("codes", self.codes, torch.uint8, n_bytes),
            ("exponents", self.exponents, torch.int16, self.shape[0]),
        ]
        if self.facts is not None:
            dtypes = (torch.uint8, torch.int64, torch.float32)
            sizes = (layout.n_blocks, self.shape[0], self.shape[0])
            tensors += zip(Facts._fields, self.facts, dtypes, sizes, strict=True)
        for name, tensor, dtype, size in tensors:
            if tensor.dtype != dtype:
                raise TypeError(f"{name} of a packed weight must be {dtype}, not {tensor.dtype}")
            if tensor.shape != (size,) or not tensor.is_contiguous():
                raise ValueError(
                    f"{name} of a packed weight of shape {self.shape} and {self.bits} bits must be {size} values, "
                    f"contiguous, not of shape {tuple(tensor.shape)} and strides {tensor.stride()}"
                )

    def __reduce__(self) -> tuple[type[PackedWeight], tuple[Any, ...]]:
        """Returns how to make it again: without what was computed from it and kept."""
        return PackedWeight, (self.codes, self.exponents, self.shape, self.bits, self.has_zero, self.groups)

    @property
    def layout(self) -> Layout:
        """Returns where each row and column lies."""
        return Layout(self.shape, self.groups)

    @property
    def n_bytes(self) -> int:
        """Returns the bytes of codes and exponents."""
        return self.codes.numel() + 2 * self.exponents.numel()

    @property
    def n_planes(self) -> Tensor:
        """Returns the number of int8 planes that each block's magnitudes need, uint8, shape (n_blocks,)."""
        return self._facts.n_planes

    @property
    def row_sums(self) -> Tensor:
        """Returns the sum of each row's integers, int64, shape (n_rows,): what a zero point adds to a sum."""
        return self._facts.row_sums

    @property
    def scales(self) -> Tensor:
        """Returns ``2**exponents``, float32, shape (n_rows,)."""
        return self._facts.scales

    @property
    def _facts(self) -> Facts:
        if self.facts is None:
            with _kept():
                object.__setattr__(self, "facts", _facts_of(self))
        return self.facts  # type: ignore[return-value]

    @property
    def dense(self) -> Tensor:
        """Returns ``unpack()``, kept from then on: 4 bytes a weight."""
        if self.unpacked is None:
            with _kept():
                object.__setattr__(self, "unpacked", self.unpack())
        return self.unpacked  # type: ignore[return-value]

    def integers(self) -> Tensor:
        """Returns the weight divided by its rows' ``2**exponent``: int64 powers of two, signed, of ``shape``."""
        codes = self.layout.rows_of(_padded_codes(self))
        magnitude = codes & (2 ** (self.bits - 1) - 1)
        value = 1 << (magnitude - int(self.has_zero)).clamp_min(0)
        if self.has_zero:
            value = value * (magnitude > 0)
        return torch.where(codes >> (self.bits - 1) > 0, -value, value)

    def unpack(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns the weight that was packed, of ``shape``, exactly, if ``dtype`` holds its values."""
        exponents = self.exponents.view(-1, *[1] * (len(self.shape) - 1))
        return torch.ldexp(self.integers().double(), exponents.long()).to(dtype)

    def to(self, device: torch.device | str) -> PackedWeight:
        """Returns the weight on another device."""
        codes, exponents = self.codes.to(device), self.exponents.to(device)
        return PackedWeight(codes, exponents, self.shape, self.bits, self.has_zero, self.groups)


@dataclass(frozen=True)
class Layout:
    """Where the rows and columns of a weight of ``shape`` lie in the packed layout."""

    shape: tuple[int, ...]
    groups: int = 1

    @property
    def is_depthwise(self) -> bool:
        """Returns whether each group has one input and one output channel; then a tap is a column."""
        return self.groups > 1 and self.shape[0] == self.groups and self.shape[1] == 1

    @property
    def n_group_rows(self) -> int:
        """Returns the rows that lie side by side: those of a group, or all rows of a depthwise convolution."""
        return self.shape[0] if self.is_depthwise else self.shape[0] // self.groups

    @property
    def n_blocks(self) -> int:
        """Returns the number of blocks of 16 rows."""
        return self.shape[0] // self.n_group_rows * math.ceil(self.n_group_rows / BLOCK_ROWS)

    @property
    def n_quads(self) -> int:
        """Returns the number of quads of a row."""
        taps = math.prod(self.shape[2:])
        columns = self.shape[1]
        return math.ceil(taps / QUAD) if self.is_depthwise else taps * math.ceil(columns / QUAD)

    def block_bytes(self, bits: int) -> int:
        """Returns the bytes of a block of codes of ``bits`` bits."""
        return sum(math.ceil(self.n_quads * field / 8) * VECTOR_BYTES for field in fields(bits))

    def blocks_of(self, weight: Tensor) -> Tensor:
        """Returns values of ``shape`` in blocks, (n_blocks, 16, n_quads * 4), with zeros as padding."""
        n_rows = self.shape[0]
        if len(self.shape) == 4 and not self.is_depthwise:
            weight = torch.nn.functional.pad(weight.permute(0, 2, 3, 1), (0, -self.shape[1] % QUAD))
        columns = weight.reshape(n_rows, -1)
        columns = torch.nn.functional.pad(columns, (0, self.n_quads * QUAD - columns.shape[1]))
        grouped = columns.view(-1, self.n_group_rows, columns.shape[1])
        grouped = torch.nn.functional.pad(grouped, (0, 0, 0, -self.n_group_rows % BLOCK_ROWS))
        return grouped.reshape(self.n_blocks, BLOCK_ROWS, -1)

    def rows_of(self, blocks: Tensor) -> Tensor:
        """Returns the values of ``shape`` that ``blocks_of`` laid out."""
        n_rows = self.shape[0]
        rows = blocks.reshape(n_rows // self.n_group_rows, -1, blocks.shape[-1])[:, : self.n_group_rows]
        rows = rows.reshape(n_rows, -1)
        if len(self.shape) == 2 or self.is_depthwise:
            return rows[:, : math.prod(self.shape[1:])].reshape(self.shape)
        taps = rows.view(n_rows, *self.shape[2:], -1)[..., : self.shape[1]]
        return taps.permute(0, 3, 1, 2).contiguous()


def fields(bits: int) -> tuple[int, ...]:
    """Returns the widths of a code's fields, from its low bits: 4, 2 and 1 where the binary of ``bits`` has them."""
    return tuple(width for width in (4, 2, 1) if bits & width)


def pack(weight: Tensor, bits: int | None = None, *, groups: int = 1) -> PackedWeight:
    """Returns the packed form of a weight whose elements are zero or signed powers of two.

    Each row stores its exponents relative to its smallest one, so that a row needs codes for the range that it uses,
    wherever that lies.

    Args:
        weight: floating point, shape (n, k) or (n, c // groups, kh, kw).
        bits: of a code, 2 to 6; None for the fewest that hold all rows.
        groups: of the convolution that the weight is for.

    Raises:
        ValueError: the shape is another, an element is no power of two, or a row's range of exponents does not fit.
    """
    if not weight.is_floating_point():
        raise TypeError(f"a weight to pack must be of a floating-point dtype, not {weight.dtype}")
    layout = _checked_layout(tuple(weight.shape), groups)
    if bits is not None and (isinstance(bits, bool) or bits not in range(MIN_CODE_BITS, MAX_CODE_BITS + 1)):
        raise ValueError(f"bits must be {MIN_CODE_BITS} to {MAX_CODE_BITS}, or None for the fewest, not {bits!r}")
    weight = weight.detach()
    powers, exponents, is_zero = _relative_powers(weight)
    has_zero = bool(is_zero.any())
    magnitudes = powers + int(has_zero)
    magnitudes[is_zero] = 0
    bits = _bits_for(magnitudes, bits, has_zero)
    codes = magnitudes | ((weight < 0).to(torch.uint8) << (bits - 1))
    blocks = layout.blocks_of(codes)
    packed = PackedWeight(_fields_of_blocks(blocks, bits), exponents, tuple(weight.shape), bits, has_zero, groups)
    return replace(packed, facts=_facts_of(packed))


def _facts_of(packed: PackedWeight) -> Facts:
    powers = _padded_codes(packed) & (2 ** (packed.bits - 1) - 1)
    largest = (powers - int(packed.has_zero)).flatten(1).amax(1).clamp_min_(0)
    return Facts(
        n_planes=(largest // PLANE_EXPONENTS + 1).to(torch.uint8),
        row_sums=packed.integers().flatten(1).sum(1),
        scales=scales_of(packed.exponents),
    )


def scales_of(exponents: Tensor) -> Tensor:
    """Returns ``2**exponents``, float32."""
    return torch.ldexp(torch.ones_like(exponents, dtype=torch.float32), exponents)


def _checked_layout(shape: tuple[int, ...], groups: int) -> Layout:
    if len(shape) not in (2, 4) or min(shape) < 1:
        raise ValueError(f"a weight to pack must be (n, k) or (n, c, kh, kw), not empty, not {shape}")
    if groups < 1 or shape[0] % groups or (groups > 1 and len(shape) == 2):
        raise ValueError(f"groups is {groups}, expected a divisor of the {shape[0]} rows of a convolution")
    layout = Layout(shape, groups)
    if layout.n_quads * QUAD > MAX_COLUMNS:
        raise ValueError(f"a row of {layout.n_quads * QUAD} columns is too long to pack: at most {MAX_COLUMNS}")
    return layout


@contextmanager
def _kept() -> Iterator[None]:
    # Tensors made in inference mode could not be used for gradients afterwards.
    with torch.inference_mode(False), torch.no_grad():
        yield


def _relative_powers(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns exponents relative to the row's smallest one (uint8), that one (int16, a row), and where zeros are."""
    mantissa, exponent = torch.frexp(weight if weight.dtype.itemsize >= 4 else weight.float())
    is_zero = mantissa == 0
    wrong = ~is_zero & (mantissa.abs() != 0.5)
    if wrong.any():
        index = wrong.nonzero()[0].tolist()
        raise ValueError(f"weight{index} is {weight[tuple(index)].item()!r}, expected zero or a signed power of two")
    by_row = (exponent.to(torch.int16) - 1).flatten(1)
    highest = torch.iinfo(torch.int16).max
    smallest = by_row.masked_fill(is_zero.flatten(1), highest).amin(1)
    smallest = torch.where(smallest == highest, 0, smallest)
    relative = (by_row - smallest[:, None]).masked_fill(is_zero.flatten(1), 0)
    too_wide = relative.amax(1) >= 2 ** (MAX_CODE_BITS - 1)
    if too_wide.any():
        row = int(too_wide.nonzero()[0])
        raise ValueError(
            f"row {row} of the weight uses exponents {int(relative[row].max()) + 1} wide, expected at most "
            f"{2 ** (MAX_CODE_BITS - 1)}, the range of {MAX_CODE_BITS} bits"
        )
    return relative.to(torch.uint8).view(weight.shape), smallest, is_zero


def _bits_for(magnitudes: Tensor, bits: int | None, has_zero: bool) -> int:
    largest = int(magnitudes.max())
    needed = max(largest.bit_length() + 1, MIN_CODE_BITS)
    if needed > MAX_CODE_BITS or (bits is not None and needed > bits):
        row = int(magnitudes.flatten(1).amax(1).argmax())
        zero = " and zero" if has_zero else ""
        offered = f"{bits} bits hold" if bits is not None else f"{MAX_CODE_BITS} bits, the most, hold"
        capacity = 2 ** ((bits or MAX_CODE_BITS) - 1) - int(has_zero)
        raise ValueError(
            f"row {row} of the weight uses exponents {largest + 1 - int(has_zero)} wide{zero}; {offered} {capacity}"
        )
    return needed if bits is None else bits


def _fields_of_blocks(codes: Tensor, bits: int) -> Tensor:
    """Returns the bytes of codes in blocks, (n_blocks, 16, columns) uint8."""
    n_blocks = codes.shape[0]
    quads = codes.view(n_blocks, BLOCK_ROWS, -1, QUAD)
    sections, low = [], 0
    for width in fields(bits):
        n_shared = 8 // width
        part = (quads >> low) & (2**width - 1)
        part = torch.nn.functional.pad(part, (0, 0, 0, -part.shape[2] % n_shared))
        part = part.view(n_blocks, BLOCK_ROWS, -1, n_shared, QUAD)
        merged = torch.zeros_like(part[:, :, :, 0])
        for index in range(n_shared):
            merged |= part[:, :, :, index] << (index * width)
        sections.append(merged.transpose(1, 2).reshape(n_blocks, -1))
        low += width
    return torch.cat(sections, 1).flatten()


def _padded_codes(packed: PackedWeight) -> Tensor:
    """Returns the codes in blocks, (n_blocks, 16, n_quads * 4), int64."""
    layout = packed.layout
    blocks = packed.codes.view(layout.n_blocks, layout.block_bytes(packed.bits))
    codes: Any = 0
    start, low = 0, 0
    for width in fields(packed.bits):
        n_shared = 8 // width
        n_bytes = math.ceil(layout.n_quads / n_shared) * VECTOR_BYTES
        section = blocks[:, start : start + n_bytes].view(layout.n_blocks, -1, BLOCK_ROWS, QUAD)
        parts = torch.stack([(section >> (index * width)) & (2**width - 1) for index in range(n_shared)], 2)
        parts = parts.flatten(1, 2)[:, : layout.n_quads].transpose(1, 2).flatten(2)
        codes = codes + (parts.long() << low)
        start, low = start + n_bytes, low + width
    return codes  # type: ignore[no-any-return]
