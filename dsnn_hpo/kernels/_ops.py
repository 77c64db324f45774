"""What the ops of this package share: their library of torch, and calls of compiled functions on flat memory."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

from dsnn_hpo.errors import KernelError
from dsnn_hpo.kernels._implementation import Implementation, current_implementation
from dsnn_hpo.kernels._library import compiled_library

# `Library.define` and not `custom_op`, which costs four times as much a call. Untyped in torch.
LIBRARY: Any = Library("dsnn_hpo", "FRAGMENT")  # type: ignore[no-untyped-call]

# What the library returns besides 0.
NOT_FINITE = 1
_NO_MEMORY = 2

POINTER = ctypes.c_void_p
INT32 = ctypes.c_int32
INT64 = ctypes.c_int64
UINT64 = ctypes.c_uint64
FLOAT = ctypes.c_float


@functools.cache
def typed(loaded: ctypes.CDLL, name: str, *arguments: Any) -> Any:
    """Returns a function of the library, without a result, that converts its arguments to these types.

    Raises KernelError where the library is older than this package and lacks it.
    """
    function = loaded[name]
    function.argtypes = arguments
    function.restype = None
    return function


def flat_output(op: str, *inputs: Tensor) -> tuple[ctypes.CDLL, Tensor] | None:
    """Returns the library and an output for a kernel that treats CPU tensors as flat memory; None for the reference.

    Fit are float32 tensors of one layout without gaps or overlap: contiguous, channels_last or any other order. Raises
    KernelError where COMPILED is asked for and the library is missing or the tensors do not fit.
    """
    loaded = compiled_library()
    if loaded is None:
        return None
    output = torch.empty_like(inputs[0])
    # `empty_like` takes over the strides of a tensor exactly if that has no gaps and no overlap.
    strides = output.stride()
    if all(x.dtype is torch.float32 and x.stride() == strides and x.device.type == "cpu" for x in inputs):
        return loaded, output
    if current_implementation() is Implementation.COMPILED:
        raise KernelError(
            f"{op}: the compiled kernel takes dense float32 tensors of one layout on the CPU, not "
            + ", ".join(f"{x.dtype} of strides {tuple(x.stride())} on {x.device}" for x in inputs)
        )
    return None


def fuses(x: Tensor) -> bool:
    """Returns whether joining several operations on ``x`` into one op pays: where a compiled kernel takes them.

    Not while torch compiles a graph, as its own compiler joins operations.
    """
    if torch.compiler.is_compiling() or x.device.type != "cpu" or x.dtype is not torch.float32:
        return False
    return compiled_library() is not None


def require_float(op: str, *tensors: Tensor) -> None:
    """Returns nothing; raises TypeError unless all tensors are of one floating-point dtype."""
    dtypes = {x.dtype for x in tensors}
    if len(dtypes) > 1 or not tensors[0].is_floating_point():
        raise TypeError(
            f"{op} takes tensors of one floating-point dtype, not {', '.join(map(str, sorted(dtypes, key=str)))}"
        )


def pointer(tensor: Tensor | None) -> int | None:
    """Returns the address of a tensor's memory, None for None."""
    return None if tensor is None else tensor.data_ptr()


def is_direct(x: Tensor, bias: Tensor | None = None) -> bool:
    """Returns whether nothing but the kernel needs to see this call: no gradient, no trace, no mode.

    The dispatcher and the way back to Python cost more than a small kernel.
    """
    return (
        not torch.compiler.is_compiling()
        and type(x) is Tensor
        and x.device.type == "cpu"
        and not x.is_neg()
        and not (torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)))
        and not torch._C._is_tracing()
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def require_memory(status: int) -> None:
    """Returns nothing; raises MemoryError for the library's status that there was none."""
    if status == _NO_MEMORY:
        raise MemoryError("there is not enough memory for the compiled kernel's copy of its input")


def require_together(x: Tensor, weight: Tensor) -> None:
    """Returns nothing; raises ValueError unless an input and a weight are on one device."""
    if x.device != weight.device:
        raise ValueError(f"x is on {x.device} and the weight on {weight.device}: move one of them")


def require(tensor: Tensor, name: str, *, dtype: torch.dtype, shape: Sequence[int | None]) -> None:
    """Returns nothing; raises unless a tensor is contiguous, on the CPU, of a dtype and of a shape, None for any size.

    Raises:
        TypeError: it is of another dtype.
        ValueError: it is of another shape, on another device or not contiguous.
    """
    if tensor.dtype == dtype and tensor.shape == shape and tensor.device.type == "cpu" and tensor.is_contiguous():
        return
    if tensor.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, not {tensor.dtype}")
    if tensor.dim() != len(shape) or any(
        want not in (None, got) for got, want in zip(tensor.shape, shape, strict=True)
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must be of shape ({wanted}), not {tuple(tensor.shape)}")
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, not on {tensor.device}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} must be contiguous, not of strides {tensor.stride()}")
