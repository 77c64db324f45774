"""The linear layer with packed weights and few rows of activations on a GPU: codes are decoded in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import triton
from torch import Tensor

from dsnn_hpo.kernels.packed_weight import PLANE_EXPONENTS, PackedWeight
from dsnn_hpo.kernels.triton import _linear_kernels as kernels

MAX_ROWS = 64
"""More rows than these share a weight that is decoded once: see ``dense_linear``."""
MAX_PLANES = 2
"""The planes of int8 digits that the kernel for few rows holds at once."""

_N_MULTIPROCESSORS = 132
_SHARED_BYTES = 96 * 1024
_ARRANGE_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a product is cut up: tiles of ``block_n`` outputs and ``block_m`` rows, ``n_splits`` shares of the columns.

    ``block_u`` units are decoded at a time, ``n_stages`` such steps are loaded ahead.
    """

    block_n: int
    block_m: int
    block_u: int
    n_splits: int
    n_stages: int


@dataclass(frozen=True, slots=True)
class Operand:
    """How activations enter the matrix unit: as what type, in how many parts, and the weight's power of two in it."""

    kind: Literal["float16", "bfloat16", "int8"]
    n_parts: int
    shift: int

    @property
    def dtype(self) -> torch.dtype:
        """Returns the type in torch."""
        return getattr(torch, self.kind)  # type: ignore[no-any-return]


def unit_columns(bits: int) -> int:
    """Returns the columns of a unit, the shortest run whose codes of ``bits`` bits fill whole words of each field."""
    narrowest = bits & -bits
    return 4 * 8 // narrowest


def operand_for(dtype: torch.dtype, packed: PackedWeight) -> Operand:
    """Returns what activations of ``dtype`` become, exactly: a sum of bfloat16, or float16 where the weight fits that.

    float32 is three bfloat16; float16 is two where codes of 6 bits exceed its range.
    """
    if dtype is torch.float16 and packed.bits < 6:
        return Operand("float16", 1, -14)
    shift = 2 if packed.has_zero else 1
    return Operand("bfloat16", {torch.bfloat16: 1, torch.float16: 2, torch.float32: 3}[dtype], shift)


def tiling_for(n_rows: int, packed: PackedWeight, operand: Operand, n_multiprocessors: int) -> Tiling:
    """Returns a tiling that gives every multiprocessor two programs, if the columns can be shared out that far."""
    n_outputs, n_columns = packed.shape
    columns = unit_columns(packed.bits)
    block_n, block_u = 64, 32 if operand.kind == "int8" or columns == 8 else 16
    row_bytes = columns * block_u * operand.n_parts * operand.dtype.itemsize
    block_m = min(MAX_ROWS, max(16, triton.next_power_of_2(n_rows)))
    while block_m > 16 and row_bytes * block_m > _SHARED_BYTES // 2:
        block_m //= 2
    stage_bytes = row_bytes * block_m + block_n * block_u * columns * packed.bits // 8
    n_tiles = triton.cdiv(n_outputs, block_n) * triton.cdiv(n_rows, block_m)
    n_steps = triton.cdiv(triton.cdiv(n_columns, columns), block_u)
    n_splits = max(1, min(2 * n_multiprocessors // n_tiles, n_steps // 2))
    # No share is empty.
    n_splits = triton.cdiv(n_steps, triton.cdiv(n_steps, n_splits))
    return Tiling(block_n, block_m, block_u, n_splits, max(1, min(4, _SHARED_BYTES // stage_bytes)))


def packed_linear(x: Tensor, packed: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``x W^T + bias`` for few rows, (m, n) in the dtype of ``x``, summed in float32.

    The products are exact: a float32 activation enters as a sum of three bfloat16. Sums are of weights relative to the
    rows' common exponents.

    Args:
        x: float16, bfloat16 or float32, shape (m, k).
        packed: of a linear layer, (n, k).
        bias: floating point, shape (n,).
    """
    operand = operand_for(x.dtype, packed)
    m, k = x.shape
    n_units = math.ceil(k / unit_columns(packed.bits))
    tiling = tiling_for(m, packed, operand, _n_multiprocessors(x.device))
    arranged = torch.empty(operand.n_parts * m * n_units * unit_columns(packed.bits), dtype=operand.dtype, device=x.device)
    arrivals = _arrivals(m, packed, tiling, x.device)
    grid = (m, triton.cdiv(n_units * unit_columns(packed.bits), _ARRANGE_BLOCK))
    kernels.arrange_float_kernel[grid](
        x.contiguous(),
        arranged,
        arrivals,
        k,
        n_units,
        arrivals.numel(),
        PHASES=unit_columns(packed.bits),
        PARTS=operand.n_parts,
        BLOCK=_ARRANGE_BLOCK,
    )
    return _multiply(_Arranged(arranged, None, m, operand), packed, bias, tiling, arrivals, x.dtype)


def packed_linear_int8(x: Tensor, packed: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``x W^T + bias`` with rows of ``x`` quantised to int8, for few rows; equal to the reference's integers.

    Takes and returns what ``packed_linear`` does. Raises ValueError where the weight needs more than two int8 planes.
    """
    if n_planes(packed) > MAX_PLANES:
        raise ValueError(f"codes of {packed.bits} bits span {n_planes(packed)} int8 planes, expected at most {MAX_PLANES}")
    operand = Operand("int8", 1, 0)
    m, k = x.shape
    n_units = math.ceil(k / unit_columns(packed.bits))
    tiling = tiling_for(m, packed, operand, _n_multiprocessors(x.device))
    arranged = torch.empty(m * n_units * unit_columns(packed.bits), dtype=torch.int8, device=x.device)
    scales = torch.empty(m, dtype=torch.float32, device=x.device)
    arrivals = _arrivals(m, packed, tiling, x.device)
    kernels.arrange_int8_kernel[(m,)](
        x.contiguous(),
        arranged,
        scales,
        arrivals,
        k,
        n_units,
        arrivals.numel(),
        PHASES=unit_columns(packed.bits),
        BLOCK=_ARRANGE_BLOCK,
        enable_fp_fusion=False,
    )
    return _multiply(_Arranged(arranged, scales, m, operand), packed, bias, tiling, arrivals, x.dtype)


def n_planes(packed: PackedWeight) -> int:
    """Returns the int8 planes that the magnitudes of the code, used or not, need."""
    largest = 2 ** (packed.bits - 1) - 1 - int(packed.has_zero)
    return largest // PLANE_EXPONENTS + 1


@dataclass(frozen=True, slots=True)
class _Arranged:
    values: Tensor
    scales: Tensor | None
    n_rows: int
    operand: Operand


def _multiply(
    x: _Arranged, packed: PackedWeight, bias: Tensor | None, tiling: Tiling, arrivals: Tensor, dtype: torch.dtype
) -> Tensor:
    n, _ = packed.shape
    columns = unit_columns(packed.bits)
    is_integer = x.operand.kind == "int8"
    planes = n_planes(packed) if is_integer else 1
    out = torch.empty(x.n_rows, n, dtype=dtype, device=x.values.device)
    n_tiles, block = arrivals.numel(), tiling.block_n * tiling.block_m
    sums = torch.float32 if not is_integer else torch.int32 if planes == 1 else torch.int64
    partial = out.new_empty(n_tiles * tiling.n_splits * block if tiling.n_splits > 1 else 1, dtype=sums)
    kernels.packed_linear_kernel[(n_tiles, tiling.n_splits)](
        x.values,
        packed.codes.view(torch.int32),
        packed.exponents,
        out if bias is None else bias,
        out if x.scales is None else x.scales,
        out,
        partial,
        arrivals,
        x.n_rows,
        n,
        packed.layout.n_quads,
        packed.layout.block_bytes(packed.bits) // 4,
        x.values.numel() // (x.operand.n_parts * x.n_rows * columns),
        BITS=packed.bits,
        HAS_ZERO=packed.has_zero,
        HAS_BIAS=bias is not None,
        KIND=x.operand.kind,
        SHIFT=x.operand.shift,
        PARTS=x.operand.n_parts,
        PLANES=planes,
        SPLITS=tiling.n_splits,
        BLOCK_N=tiling.block_n,
        BLOCK_M=tiling.block_m,
        BLOCK_U=tiling.block_u,
        num_warps=4,
        num_stages=tiling.n_stages,
        enable_fp_fusion=False,
    )
    return out


def _arrivals(n_rows: int, packed: PackedWeight, tiling: Tiling, device: torch.device) -> Tensor:
    """Returns counters for the shares of a tile that are summed, one a tile; ``arrange`` sets them to zero."""
    n_tiles = triton.cdiv(packed.shape[0], tiling.block_n) * triton.cdiv(n_rows, tiling.block_m)
    return torch.empty(n_tiles, dtype=torch.int32, device=device)


def _n_multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return _N_MULTIPROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count
