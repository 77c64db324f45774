"""The linear layer with packed weights and many rows of activations on a GPU: decode once, let cuBLAS multiply.

Signed powers of two are exact in float16 and bfloat16, in int8 for 7 exponents, and in float8 e5m2 for 32 of them.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from dsnn_hpo.kernels.packed_weight import PackedWeight
from dsnn_hpo.kernels.triton import _linear_kernels as kernels
from dsnn_hpo.kernels.triton._facts import exponent_span, fits_float8, fits_half

_ALIGNMENT = 16
_MIN_INT8_ROWS = 32
_LARGEST_E4M3 = 448.0
_BLOCK_N, _BLOCK_K = 16, 128
_BLOCK = 1024


def decode(packed: PackedWeight, dtype: torch.dtype) -> Tensor:
    """Returns the weight, (n, k), float16, bfloat16 or float32; rounded where that does not hold its exponents."""
    out = torch.empty(packed.shape, dtype=dtype, device=packed.codes.device)
    return _decode(packed, out, "float")


def decode_int8(packed: PackedWeight, plane: int) -> Tensor:
    """Returns a digit in base 128 of the weight's integers, int8; n and k padded with zeros to multiples of 16.

    The integers are the sum over planes of ``128**plane`` times the digit; one digit of an integer is not zero.
    """
    return _decode(packed, _padded(packed, torch.int8), "int8", plane=plane)


def decode_float8(packed: PackedWeight, exponent: int) -> Tensor:
    """Returns the weight divided by ``2**exponent``, float8 e5m2; n and k padded with zeros to multiples of 16."""
    return _decode(packed, _padded(packed, torch.uint8), "float8_e5m2", exponent=exponent).view(torch.float8_e5m2)


def dense_linear(x: Tensor, packed: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``x W^T + bias``, (m, n) in the dtype of ``x``, by torch's product with the decoded weight.

    float16 activations multiply in float32 where float16 does not hold the weight.
    """
    dtype = torch.float32 if x.dtype is torch.float16 and not fits_half(packed) else x.dtype
    bias = None if bias is None else bias.to(dtype)
    return F.linear(x.to(dtype), decode(packed, dtype), bias).to(x.dtype)


def dense_linear_int8(
    x: Tensor, packed: PackedWeight, scales: Tensor, n_planes: int, bias: Tensor | None = None
) -> Tensor:
    """Returns ``linear_int8_reference``, bit for bit; takes what ``packed_linear_int8`` does, of any planes."""
    m, k = x.shape
    n = packed.shape[0]
    k_padded = k + -k % _ALIGNMENT
    # cuBLAS wants more than 16 rows; what the padding holds is multiplied, but not read.
    q = x.new_empty(max(m, _MIN_INT8_ROWS), k_padded, dtype=torch.int8)
    row_scales = x.new_empty(m, dtype=torch.float32)
    kernels.arrange_int8_kernel[(m,)](
        x.contiguous(), q, row_scales, q, k, k_padded, 0, PHASES=1, BLOCK=_BLOCK, enable_fp_fusion=False
    )
    sums = torch._int_mm(q, decode_int8(packed, 0).t())
    for plane in range(1, n_planes):
        sums = sums.long() + torch._int_mm(q, decode_int8(packed, plane).t()).long() * 128**plane
    out = x.new_empty(m, n)
    kernels.scale_kernel[(m, triton.cdiv(n, _BLOCK))](
        sums,
        scales,
        row_scales,
        scales if bias is None else bias,
        out,
        n,
        sums.shape[1],
        HAS_BIAS=bias is not None,
        BLOCK=_BLOCK,
        enable_fp_fusion=False,
    )
    return out


def dense_linear_float8(x: Tensor, packed: PackedWeight, bias: Tensor | None = None) -> Tensor:
    """Returns ``x W^T + bias``, (m, n) bfloat16, with x rounded to float8 e4m3 and the weight exact in float8 e5m2.

    x is scaled so that its largest magnitude is the format's, 448. Sums keep full accuracy (``use_fast_accum=False``).
    A weight whose exponents float8 does not hold is multiplied in bfloat16, as is x then.
    """
    if not fits_float8(packed):
        return dense_linear(x.to(torch.bfloat16), packed, bias)
    n, k = packed.shape
    _, highest = exponent_span(packed)
    exponent = highest - 15
    weight = decode_float8(packed, exponent)
    # Zeros stay zeros: the smallest normal number stands in for their maximum.
    scale = x.detach().abs().amax().float().clamp_min(torch.finfo(torch.float32).tiny) / _LARGEST_E4M3
    q = F.pad((x.float() / scale).clamp(-_LARGEST_E4M3, _LARGEST_E4M3), (0, weight.shape[1] - k))
    y = torch._scaled_mm(
        q.to(torch.float8_e4m3fn),
        weight.t(),
        scale,
        torch.full((), 2.0**exponent, device=x.device),
        bias=None if bias is None else F.pad(bias.to(torch.bfloat16), (0, weight.shape[0] - n)),
        out_dtype=torch.bfloat16,
        use_fast_accum=False,
    )
    return y[:, :n]


def _padded(packed: PackedWeight, dtype: torch.dtype) -> Tensor:
    rows, columns = (size + -size % _ALIGNMENT for size in packed.shape)
    return torch.empty(rows, columns, dtype=dtype, device=packed.codes.device)


def _decode(packed: PackedWeight, out: Tensor, kind: str, *, plane: int = 0, exponent: int = 0) -> Tensor:
    n, k = packed.shape
    rows, columns = out.shape
    kernels.decode_kernel[(triton.cdiv(rows, _BLOCK_N), triton.cdiv(columns, _BLOCK_K))](
        packed.codes,
        packed.exponents,
        out,
        n,
        k,
        rows,
        columns,
        packed.layout.n_quads,
        packed.layout.block_bytes(packed.bits),
        exponent,
        BITS=packed.bits,
        HAS_ZERO=packed.has_zero,
        KIND=kind,
        PLANE=plane,
        BLOCK_N=_BLOCK_N,
        BLOCK_K=_BLOCK_K,
    )
    return out
