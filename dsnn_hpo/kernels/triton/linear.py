"""The linear layer with packed weights and few rows of activations on a GPU: codes are decoded in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import triton
from torch import Tensor

from dsnn_hpo.kernels.packed_weight import PackedWeight
from dsnn_hpo.kernels.triton import _linear_kernels as kernels

MAX_ROWS = 64
"""More rows than these share a weight that is decoded once: see ``dense_linear``."""
MAX_PLANES = 2
"""The int8 planes whose sums the kernel for few rows holds at once."""

_N_MULTIPROCESSORS = 132
_SHARED_BYTES = 96 * 1024
_ARRANGE_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Operand:
    """How activations enter the matrix unit: as what type, in how many parts, and the power of two of the weight there.

    The weight in the matrix unit is its integers times ``2**shift``.
    """

    kind: Literal["float16", "bfloat16", "int8"]
    n_parts: int = 1
    shift: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """Returns the type in torch."""
        return {"float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}[self.kind]


INT8 = Operand("int8")


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a product is cut up: tiles of ``block_n`` outputs and ``block_m`` rows, ``n_splits`` shares of the columns.

    ``block_u`` units are decoded at a time; ``n_stages`` such steps are in flight.
    """

    block_n: int
    block_m: int
    block_u: int
    n_splits: int
    n_stages: int


def unit_columns(bits: int) -> int:
    """Returns the columns of a unit, the shortest run whose codes of ``bits`` bits fill whole words of each field."""
    narrowest = bits & -bits
    return 4 * 8 // narrowest


def operand_for(dtype: torch.dtype, packed: PackedWeight) -> Operand:
    """Returns what activations of ``dtype`` become, without loss: float16, or a sum of bfloat16.

    float32 is three bfloat16; float16 is two where codes of 6 bits leave its range. Raises TypeError for others.
    """
    if dtype is torch.float16 and packed.bits < 6:
        return Operand("float16", shift=-14)
    n_parts = {torch.bfloat16: 1, torch.float16: 2, torch.float32: 3}
    if dtype not in n_parts:
        raise TypeError(f"x must be float16, bfloat16 or float32, not {dtype}")
    return Operand("bfloat16", n_parts[dtype], shift=2 if packed.has_zero else 1)


def tiling_for(n_rows: int, packed: PackedWeight, operand: Operand, n_multiprocessors: int) -> Tiling:
    """Returns a tiling that gives every multiprocessor two programs, if the columns can be shared out that far."""
    n_outputs, n_columns = packed.shape
    columns = unit_columns(packed.bits)
    block_n, block_u = 64, 32 if operand is INT8 or columns == 8 else 16
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

    The products are exact: a float32 activation enters as the sum of three bfloat16. Sums are of weights relative to
    their rows' exponents.

    Args:
        x: float16, bfloat16 or float32, shape (m, k).
        packed: of a linear layer, (n, k).
        bias: floating point, shape (n,).
    """
    operand = operand_for(x.dtype, packed)
    task = _Task.of(x, packed, operand)
    grid = (task.n_rows, triton.cdiv(task.n_arranged, _ARRANGE_BLOCK))
    kernels.arrange_float_kernel[grid](
        x.contiguous(),
        task.arranged,
        task.arrivals,
        x.shape[1],
        task.n_units,
        task.arrivals.numel(),
        PHASES=unit_columns(packed.bits),
        PARTS=operand.n_parts,
        BLOCK=_ARRANGE_BLOCK,
        enable_fp_fusion=False,
    )
    return _multiply(task, packed, bias, _Scaling(None, None, 1), x.dtype)


def packed_linear_int8(
    x: Tensor, packed: PackedWeight, scales: Tensor, n_planes: int, bias: Tensor | None = None
) -> Tensor:
    """Returns ``linear_int8_reference`` for few rows, bit for bit; rows with a NaN or an infinity become NaN.

    Args:
        x: floating point, shape (m, k).
        packed: of a linear layer, (n, k).
        scales: of the weight, float32, shape (n,).
        n_planes: of the weight, the most of its blocks; at most ``MAX_PLANES``.
        bias: float32, shape (n,).
    """
    task = _Task.of(x, packed, INT8)
    row_scales = torch.empty(task.n_rows, dtype=torch.float32, device=x.device)
    kernels.arrange_int8_kernel[(task.n_rows,)](
        x.contiguous(),
        task.arranged,
        row_scales,
        task.arrivals,
        x.shape[1],
        task.n_units,
        task.arrivals.numel(),
        PHASES=unit_columns(packed.bits),
        BLOCK=_ARRANGE_BLOCK,
        enable_fp_fusion=False,
    )
    return _multiply(task, packed, bias, _Scaling(scales, row_scales, n_planes), x.dtype)


@dataclass(frozen=True, slots=True)
class _Task:
    """A product to be done: the activations' arranged copy, and counters of the shares of a tile that are summed."""

    operand: Operand
    tiling: Tiling
    n_rows: int
    n_units: int
    n_arranged: int
    arranged: Tensor
    arrivals: Tensor

    @classmethod
    def of(cls, x: Tensor, packed: PackedWeight, operand: Operand) -> _Task:
        n_rows, n_columns = x.shape
        n_units = math.ceil(n_columns / unit_columns(packed.bits))
        n_arranged = n_units * unit_columns(packed.bits)
        tiling = tiling_for(n_rows, packed, operand, _n_multiprocessors(x.device))
        n_tiles = triton.cdiv(packed.shape[0], tiling.block_n) * triton.cdiv(n_rows, tiling.block_m)
        arranged = x.new_empty(operand.n_parts * n_rows * n_arranged, dtype=operand.dtype)
        arrivals = x.new_empty(n_tiles, dtype=torch.int32)
        return cls(operand, tiling, n_rows, n_units, n_arranged, arranged, arrivals)


@dataclass(frozen=True, slots=True)
class _Scaling:
    scales: Tensor | None
    row_scales: Tensor | None
    n_planes: int


def _multiply(task: _Task, packed: PackedWeight, bias: Tensor | None, scaling: _Scaling, dtype: torch.dtype) -> Tensor:
    tiling, n_tiles = task.tiling, task.arrivals.numel()
    out = task.arranged.new_empty(task.n_rows, packed.shape[0], dtype=dtype)
    sums = torch.float32 if task.operand is not INT8 else torch.int32 if scaling.n_planes == 1 else torch.int64
    n_partial = n_tiles * tiling.n_splits * tiling.block_n * tiling.block_m if tiling.n_splits > 1 else 1
    kernels.packed_linear_kernel[(n_tiles, tiling.n_splits)](
        task.arranged,
        packed.codes.view(torch.int32),
        packed.exponents,
        _or(scaling.scales, out),
        _or(scaling.row_scales, out),
        _or(bias, out),
        out,
        out.new_empty(n_partial, dtype=sums),
        task.arrivals,
        task.n_rows,
        packed.shape[0],
        packed.layout.n_quads,
        packed.layout.block_bytes(packed.bits) // 4,
        task.n_units,
        BITS=packed.bits,
        HAS_ZERO=packed.has_zero,
        HAS_BIAS=bias is not None,
        KIND=task.operand.kind,
        SHIFT=task.operand.shift,
        PARTS=task.operand.n_parts,
        PLANES=scaling.n_planes,
        SPLITS=tiling.n_splits,
        BLOCK_N=tiling.block_n,
        BLOCK_M=tiling.block_m,
        BLOCK_U=tiling.block_u,
        num_warps=4,
        num_stages=tiling.n_stages,
        enable_fp_fusion=False,
    )
    return out


def _or(tensor: Tensor | None, unused: Tensor) -> Tensor:
    """Returns the tensor, or one that the kernel does not touch."""
    return unused if tensor is None else tensor


def _n_multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return _N_MULTIPROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count
