"""The spatial shift: groups of channels move by a few pixels each, without any arithmetic."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from dsnn_hpo.errors import KernelError
from dsnn_hpo.kernels._implementation import Implementation, current_implementation
from dsnn_hpo.kernels._library import compiled_library, n_threads
from dsnn_hpo.kernels._ops import INT32, LIBRARY, POINTER, typed

_LARGEST_SHIFT = 2**15


def spatial_shift_reference(x: Tensor, kernel_size: int = 3, dilation: int = 1) -> Tensor:
    """Returns ``x`` with its channels moved, shape, dtype and memory format of ``x``.

    The c channels are cut into ``kernel_size**2`` contiguous groups of ``c // kernel_size**2``, in row-major order of
    (dy, dx) from ``-(kernel_size // 2)`` to ``kernel_size // 2``; the channels left over are not moved::

        y[:, c, i, j] = x[:, c, i + dy * dilation, j + dx * dilation], 0 where that is outside

    ShiftNet (Wu et al., CVPR 2018, arXiv 1711.08141): a depthwise convolution whose kernels have one 1 each. Its
    released code deals the directions out in turn, channel by channel; groups that lie together are moved faster.

    Args:
        x: shape (n, c, height, width), any dtype.
        kernel_size: odd.
        dilation: at least 1, pixels a step.

    Raises:
        ValueError: a shape or number is wrong.
    """
    _check(x, kernel_size, dilation)
    return _moved(x, kernel_size, dilation)


def spatial_shift(x: Tensor, kernel_size: int = 3, dilation: int = 1) -> Tensor:
    """Returns ``spatial_shift_reference`` with its gradient: the opposite move."""
    _check(x, kernel_size, dilation)
    return _OP(x, kernel_size, dilation)  # type: ignore[no-any-return]


# A negative step is the opposite move: the gradient is the same op again.
LIBRARY.define("spatial_shift(Tensor x, int kernel_size, int step) -> Tensor")
_OP = torch.ops.dsnn_hpo.spatial_shift.default
_ARGUMENTS = (POINTER, POINTER, POINTER, INT32, INT32, INT32, INT32)


def _spatial_shift(x: Tensor, kernel_size: int, step: int) -> Tensor:
    loaded = compiled_library() if x.device.type == "cpu" else None
    if loaded is None:
        return _moved(x, kernel_size, step)
    if x.dtype is not torch.float32:
        if current_implementation() is Implementation.COMPILED:
            raise KernelError(f"spatial_shift: the compiled kernel takes float32 tensors, not {x.dtype}")
        return _moved(x, kernel_size, step)
    memory_format = _memory_format(x)
    x = x.contiguous(memory_format=memory_format)
    y = torch.empty_like(x)
    shape = (ctypes.c_int64 * 4)(*x.shape)
    is_last = memory_format is torch.channels_last
    typed(loaded, "dsnn_spatial_shift", *_ARGUMENTS)(
        x.data_ptr(), y.data_ptr(), ctypes.addressof(shape), is_last, kernel_size, step, n_threads()
    )
    return y


def _moved(x: Tensor, kernel_size: int, step: int) -> Tensor:
    y = torch.zeros_like(x, memory_format=_memory_format(x))
    _, n_channels, height, width = x.shape
    n_groups = kernel_size**2
    size = n_channels // n_groups
    for group in range(n_groups):
        down, right = ((n - kernel_size // 2) * step for n in divmod(group, kernel_size))
        channels = slice(group * size, (group + 1) * size)
        (to_rows, from_rows), (to_columns, from_columns) = _overlap(down, height), _overlap(right, width)
        y[:, channels, to_rows, to_columns] = x[:, channels, from_rows, from_columns]
    y[:, n_groups * size :] = x[:, n_groups * size :]
    return y


def _overlap(distance: int, length: int) -> tuple[slice, slice]:
    """Returns where, along one axis, elements arrive that come from ``distance`` further on, and where they start."""
    n_moved = max(0, length - abs(distance))
    to, source = max(0, -distance), max(0, distance)
    return slice(to, to + n_moved), slice(source, source + n_moved)


def _memory_format(x: Tensor) -> torch.memory_format:
    return torch._prims_common.suggest_memory_format(x)


def _check(x: Tensor, kernel_size: int, dilation: int) -> None:
    if x.dim() != 4:
        raise ValueError(f"spatial_shift takes images of shape (n, channels, height, width), not {tuple(x.shape)}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd and at least 1, not {kernel_size!r}")
    if dilation < 1 or dilation * (kernel_size // 2) > _LARGEST_SHIFT:
        raise ValueError(f"dilation must be at least 1 and move by at most {_LARGEST_SHIFT} pixels, not {dilation!r}")


LIBRARY.impl("spatial_shift", _spatial_shift, "CompositeExplicitAutograd")


@torch.library.register_fake("dsnn_hpo::spatial_shift", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(x: Tensor, kernel_size: int, step: int) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x, memory_format=_memory_format(x))


def _keep_move(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    _, ctx.kernel_size, ctx.step = inputs


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return _OP(grad, ctx.kernel_size, -ctx.step), None, None


torch.library.register_autograd("dsnn_hpo::spatial_shift", _backward, setup_context=_keep_move, lib=LIBRARY)
