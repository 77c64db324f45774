"""The quantisers on a GPU: each is one launch over a flat buffer, whatever the memory format."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from dsnn_hpo.kernels.fixed_point import FixedPointRounding, fixed_point_range
from dsnn_hpo.kernels.power_of_two import WeightRounding, exponent_range
from dsnn_hpo.kernels.triton import _quantise_kernels as kernels

_BLOCK = 1024
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_EXACT = {"enable_fp_fusion": False}


def is_supported(*tensors: Tensor) -> bool:
    """Returns whether the kernels take these tensors: float32, float16 or bfloat16, dense, all of one layout."""
    first = tensors[0]
    # `empty_like` takes over the strides of a tensor exactly if that has no gaps and no overlap.
    strides = torch.empty_like(first, device="meta").stride()
    return all(x.dtype is first.dtype and x.stride() == strides for x in tensors) and first.dtype in _DTYPES


def power_of_two_q(
    weight: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic", seed: int = 0
) -> Tensor:
    """Returns ``power_of_two_q_reference`` of a weight that ``is_supported``, bit for bit."""
    lowest, _ = exponent_range("Q", weight_bits)
    _check_holds(weight, lowest)
    return _over_elements(
        kernels.power_of_two_q_kernel, (weight,), seed, LOWEST=lowest, STOCHASTIC=rounding == "stochastic"
    )


def power_of_two_ps(
    shift: Tensor, sign: Tensor, weight_bits: int, rounding: WeightRounding = "deterministic", seed: int = 0
) -> Tensor:
    """Returns ``power_of_two_ps_reference`` of tensors that are supported, bit for bit."""
    lowest, _ = exponent_range("PS", weight_bits)
    _check_holds(shift, lowest)
    return _over_elements(
        kernels.power_of_two_ps_kernel, (shift, sign), seed, LOWEST=lowest, STOCHASTIC=rounding == "stochastic"
    )


def power_of_two_ps_backward(grad: Tensor, value: Tensor) -> Tensor:
    """Returns the gradient of P, ``grad * value * ln 2``, of tensors that are supported, bit for bit."""
    return _over_elements(kernels.power_of_two_ps_backward_kernel, (grad, value))


def fixed_point(
    x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding = "floor", seed: int = 0
) -> Tensor:
    """Returns ``fixed_point_reference`` of a tensor that ``is_supported``, bit for bit."""
    lowest, highest = fixed_point_range(integer_bits, fraction_bits, x.dtype)
    format_ = (2.0**fraction_bits, 2.0**-fraction_bits, lowest, highest)
    return _over_elements(kernels.fixed_point_kernel, (x,), seed, *format_, ROUNDING=rounding)


def _over_elements(kernel: Any, inputs: tuple[Tensor, ...], *arguments: float, **constants: Any) -> Tensor:
    out = torch.empty_like(inputs[0])
    if n := out.numel():
        kernel[(triton.cdiv(n, _BLOCK),)](*inputs, out, n, *arguments, **constants, BLOCK=_BLOCK, **_EXACT)
    return out


def _check_holds(like: Tensor, lowest: int) -> None:
    info = torch.finfo(like.dtype)
    if 2.0**lowest < info.tiny * info.eps:
        raise ValueError(f"{like.dtype} cannot hold 2**{lowest}: use fewer weight bits or a wider dtype")
