"""What must be known of a packed weight before a kernel is chosen: asked of the device once, then remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dsnn_hpo.kernels.packed_weight import PackedWeight

_BOUNDS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_SMALLEST_HALF, _LARGEST_HALF = -24, 15
_N_FLOAT8_EXPONENTS = 32


def largest_plane(n_planes: Tensor) -> int:
    """Returns the most int8 planes that a block of a weight needs, given each block's."""
    return _remembered(n_planes, lambda: int(n_planes.max()))  # type: ignore[no-any-return]


def exponent_span(packed: PackedWeight) -> tuple[int, int]:
    """Returns bounds of the exponents that a weight's codes can stand for."""
    lowest, highest = _remembered(packed.exponents, lambda: tuple(int(e) for e in torch.aminmax(packed.exponents)))
    return lowest, highest + 2 ** (packed.bits - 1) - 1 - int(packed.has_zero)


def fits_half(packed: PackedWeight) -> bool:
    """Returns whether float16 holds the weight exactly."""
    lowest, highest = exponent_span(packed)
    return lowest >= _SMALLEST_HALF and highest <= _LARGEST_HALF


def fits_float8(packed: PackedWeight) -> bool:
    """Returns whether float8 e5m2, times one power of two, holds the weight exactly: 2**-16 to 2**15."""
    lowest, highest = exponent_span(packed)
    return highest - lowest < _N_FLOAT8_EXPONENTS


def _remembered(tensor: Tensor, compute: Callable[[], Any]) -> Any:
    if tensor not in _BOUNDS:
        _BOUNDS[tensor] = compute()
    return _BOUNDS[tensor]
