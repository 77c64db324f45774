"""Convolution and linear layer by additions alone: negative l1 distances between patches and filters.

Chen et al., "AdderNet: Do We Really Need Multiplications in Deep Learning?", CVPR 2020, arXiv 1912.13200 (eq. 2 the
forward, eq. 5 and 6 the gradients), and the annealed form, from the l2 to the l1 distance over training, of Xu et al.
"Universal Adder Neural Networks", arXiv 2105.14202.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from dsnn_hpo.errors import KernelError
from dsnn_hpo.kernels import _adder_reference as reference
from dsnn_hpo.kernels import _library
from dsnn_hpo.kernels._implementation import Implementation, current_implementation
from dsnn_hpo.kernels._ops import LIBRARY, pointer, require_float, require_memory, require_together
from dsnn_hpo.kernels.conv2d import Geometry

Pair = int | tuple[int, int]


def adder_conv2d(
    x: Tensor,
    weight: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    exponent: float = 1.0,
) -> Tensor:
    """Returns ``-sum |x - w|**exponent`` of every patch and filter, with AdderNet's gradients.

    A pixel of padding counts as 0, its term is ``|0 - w|**exponent``. With the output's gradient g and the sums over
    the terms in which w or x stands, at exponent 1::

        dL/dw = sum g * (x - w)          dL/dx = sum g * clip(w - x, -1, 1)

    which are not the derivatives; for exponents above 1 they are: with d = x - w and p the exponent ::

        dL/dw = sum g * p |d|**(p-1) sgn(d)          dL/dx = -sum g * p |d|**(p-1) sgn(d)

    Args:
        x: shape (n, c, height, width), floating point; contiguous and channels_last are read as they are, and the
            output is laid out in the same way.
        weight: shape (m, c // groups, kh, kw), dtype and device of x; row i of m belongs to group i // (m // groups).
        stride: a number, or (height, width); so are padding and dilation, all as in ``torch.nn.Conv2d``.
        padding: pixels of zeros on each side.
        dilation: distance between the taps of a filter.
        groups: number of blocks that channels and rows are cut into.
        exponent: 1 (AdderNet) to 2 (squared Euclidean distance).

    Raises:
        TypeError: the tensors are not of one floating-point dtype.
        ValueError: a shape, device, geometry or exponent is wrong, or the filter does not fit the image.
    """
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation))
    return _CONV2D(  # type: ignore[no-any-return]
        x, weight, geometry.stride, geometry.padding, geometry.dilation, groups, float(exponent)
    )


def adder_conv2d_reference(
    x: Tensor,
    weight: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    exponent: float = 1.0,
) -> Tensor:
    """Returns ``adder_conv2d`` in plain torch, for any floating-point dtype; autograd gives its true derivatives."""
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation))
    shape = _checked(x, weight, geometry, groups, exponent)
    y = reference.forward(x, weight, geometry, groups, exponent) if shape.numel() else x.new_zeros(shape)
    return y.contiguous(memory_format=adder_memory_format(x))


def adder_linear(x: Tensor, weight: Tensor, exponent: float = 1.0) -> Tensor:
    """Returns ``-sum_k |x[..., k] - w[:, k]|**exponent``, shape (..., m), with the gradients of ``adder_conv2d``.

    x is of shape (..., k), weight (m, k). Raises as ``adder_conv2d``.
    """
    _check_linear(x, weight)
    y = adder_conv2d(_as_image(x), weight[:, :, None, None], exponent=exponent)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


def adder_linear_reference(x: Tensor, weight: Tensor, exponent: float = 1.0) -> Tensor:
    """Returns ``adder_linear`` in plain torch, for any floating-point dtype; autograd gives its true derivatives."""
    _check_linear(x, weight)
    y = adder_conv2d_reference(_as_image(x), weight[:, :, None, None], exponent=exponent)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


def _as_image(x: Tensor) -> Tensor:
    """Returns the rows of x as the pixels of one image, shape (1, k, 1, rows), channels last; no rows as no image."""
    rows = x.reshape(-1, 1, 1, x.shape[-1])
    return (rows.permute(1, 2, 0, 3) if len(rows) else rows).permute(0, 3, 1, 2)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (*value,)


def _check_linear(x: Tensor, weight: Tensor) -> None:
    if x.dim() < 1 or weight.dim() != 2 or x.shape[-1] != weight.shape[1] or not weight.numel():
        raise ValueError(
            f"adder_linear takes x of shape (..., k) and a weight of shape (m, k), none of them 0, not {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )


def _checked(x: Tensor, weight: Tensor, geometry: Geometry, groups: int, exponent: float) -> torch.Size:
    """Returns the output's shape; raises on arguments that ``adder_conv2d`` does not take."""
    require_float("adder_conv2d", x, weight)
    require_together(x, weight)
    if x.dim() != 4 or weight.dim() != 4:
        raise ValueError(
            "adder_conv2d takes x of shape (n, c, height, width) and a weight of shape (m, c // groups, kh, kw), not "
            f"{tuple(x.shape)} and {tuple(weight.shape)}"
        )
    n_rows, per_group, *kernel = weight.shape
    if groups < 1 or n_rows % groups:
        raise ValueError(f"groups must divide the {n_rows} rows of the weight, and be at least 1, not {groups}")
    if x.shape[1] != per_group * groups:
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} in {groups} groups needs {per_group * groups} channels of x, "
            f"not {x.shape[1]}"
        )
    if min(weight.shape) < 1:
        raise ValueError(f"the weight of adder_conv2d must not be empty, and is of shape {tuple(weight.shape)}")
    if not 1 <= exponent <= 2:
        raise ValueError(f"exponent must be from 1 (l1 distance) to 2 (squared l2 distance), not {exponent!r}")
    size = geometry.output_size((x.shape[2], x.shape[3]), (kernel[0], kernel[1]))
    return torch.Size((x.shape[0], n_rows, *size))


def adder_output_shape(x: Tensor, weight: Tensor, *arguments: Any) -> torch.Size:
    """Returns the output's shape for the op's arguments; raises on ones that ``adder_conv2d`` does not take."""
    *geometry, groups, exponent = arguments
    return _checked(x, weight, _geometry(*geometry), groups, exponent)


def adder_grad_input_reference(grad: Tensor, x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
    """Returns the gradient of x by the rule of ``adder_conv2d`` in plain torch, laid out as x."""
    *geometry, groups, exponent = arguments
    if not grad.numel():
        return torch.zeros_like(x, memory_format=adder_memory_format(x))
    grad_x = reference.grad_input(grad, x, weight, _geometry(*geometry), groups, exponent)
    return grad_x.contiguous(memory_format=adder_memory_format(x))


def adder_memory_format(x: Tensor) -> torch.memory_format:
    """Returns how outputs and gradients are laid out: channels_last where x is that and not contiguous too."""
    is_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format


_GEOMETRY = "int[2] stride, int[2] padding, int[2] dilation, int groups, float exponent"
LIBRARY.define(f"adder_conv2d(Tensor x, Tensor weight, {_GEOMETRY}) -> Tensor")
LIBRARY.define(f"adder_conv2d_grad_input(Tensor grad, Tensor x, Tensor weight, {_GEOMETRY}) -> Tensor")
LIBRARY.define(f"adder_conv2d_grad_weight(Tensor grad, Tensor x, Tensor weight, {_GEOMETRY}) -> Tensor")
_CONV2D = torch.ops.dsnn_hpo.adder_conv2d.default
_GRAD_INPUT = torch.ops.dsnn_hpo.adder_conv2d_grad_input.default
_GRAD_WEIGHT = torch.ops.dsnn_hpo.adder_conv2d_grad_weight.default


def _geometry(stride: list[int], padding: list[int], dilation: list[int]) -> Geometry:
    return Geometry((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]))


class _Adder(ctypes.Structure):
    _fields_ = [
        *[(n, ctypes.c_void_p) for n in ("x", "weight", "grad", "output")],
        *[(n, ctypes.c_int32) for n in ("n_images", "in_h", "in_w", "in_channels", "out_h", "out_w", "out_channels")],
        *[(n, ctypes.c_int32) for n in ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")],
        *[(n, ctypes.c_int32) for n in ("pad_h", "pad_w", "groups")],
        ("exponent", ctypes.c_float),
    ]


def _compiled(*tensors: Tensor) -> ctypes.CDLL | None:
    """Returns the library if it should compute on these tensors; None for the reference."""
    loaded = _library.compiled_library()
    if loaded is None or all(t.dtype is torch.float32 and t.device.type == "cpu" for t in tensors):
        return loaded
    if current_implementation() is Implementation.COMPILED:
        raise KernelError(
            "adder_conv2d: the compiled kernel takes float32 tensors on the CPU, not "
            + ", ".join(f"{t.dtype} on {t.device}" for t in tensors)
        )
    return None


def _call(function: Any, x: Tensor, weight: Tensor, grad: Tensor | None, output: Tensor, arguments: Any) -> None:
    """Calls a function of the library, which writes ``output``, images channels_last."""
    *geometry, groups, exponent = arguments
    images, filters = x.contiguous(memory_format=torch.channels_last), weight.contiguous()
    grad = None if grad is None else grad.contiguous(memory_format=torch.channels_last)
    n, channels, height, width = x.shape
    size = _geometry(*geometry).output_size((height, width), (weight.shape[2], weight.shape[3]))
    description = _Adder(
        images.data_ptr(), filters.data_ptr(), pointer(grad), output.data_ptr(),
        n, height, width, channels, *size, weight.shape[0], *weight.shape[2:],
        *geometry[0], *geometry[2], *geometry[1], groups, exponent,
    )  # fmt: skip
    require_memory(function(ctypes.byref(description), _library.n_threads()))


def _adder_conv2d(x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
    shape = adder_output_shape(x, weight, *arguments)
    loaded = _compiled(x, weight)
    if loaded is None or not shape.numel():
        return adder_conv2d_reference(x, weight, *arguments)
    y = torch.empty(shape, dtype=torch.float32, memory_format=torch.channels_last)
    _call(loaded.dsnn_adder_forward, x, weight, None, y, arguments)
    return y.contiguous(memory_format=adder_memory_format(x))


def _adder_conv2d_grad_input(grad: Tensor, x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
    loaded = _compiled(grad, x, weight)
    if loaded is None or not grad.numel():
        return adder_grad_input_reference(grad, x, weight, *arguments)
    grad_x = torch.empty_like(x, memory_format=torch.channels_last)
    _call(loaded.dsnn_adder_grad_input, x, weight, grad, grad_x, arguments)
    return grad_x.contiguous(memory_format=adder_memory_format(x))


def _adder_conv2d_grad_weight(grad: Tensor, x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
    *geometry, groups, exponent = arguments
    result = torch.zeros_like(weight)
    if not grad.numel():
        return result
    if 1 < exponent < 2:
        return result.copy_(_power_grad_weight(grad, x, weight, arguments))
    # sum g (x - w) = sum g x - w sum g: the first is the weight gradient of a convolution.
    _, products, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *geometry, False, [0, 0], groups, [False, True, False]
    )
    torch.addcmul(products, weight, grad.sum((0, 2, 3))[:, None, None, None], value=-1, out=result)
    return result if exponent == 1 else result.mul_(2)


def _power_grad_weight(grad: Tensor, x: Tensor, weight: Tensor, arguments: Any) -> Tensor:
    *geometry, groups, exponent = arguments
    loaded = _compiled(grad, x, weight)
    if loaded is None:
        return reference.grad_weight(grad, x, weight, _geometry(*geometry), groups, exponent)
    result = torch.empty(weight.shape, dtype=torch.float32)
    _call(loaded.dsnn_adder_grad_weight, x, weight, grad, result, arguments)
    return result


LIBRARY.impl("adder_conv2d", _adder_conv2d, "CompositeExplicitAutograd")
LIBRARY.impl("adder_conv2d_grad_input", _adder_conv2d_grad_input, "CompositeExplicitAutograd")
LIBRARY.impl("adder_conv2d_grad_weight", _adder_conv2d_grad_weight, "CompositeExplicitAutograd")


@torch.library.register_fake("dsnn_hpo::adder_conv2d", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
    shape = adder_output_shape(x, weight, *arguments)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=adder_memory_format(x))


@torch.library.register_fake("dsnn_hpo::adder_conv2d_grad_input", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(grad: Tensor, x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x, memory_format=adder_memory_format(x))


@torch.library.register_fake("dsnn_hpo::adder_conv2d_grad_weight", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(grad: Tensor, x: Tensor, weight: Tensor, *arguments: Any) -> Tensor:  # noqa: ARG001
    return torch.empty_like(weight)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, weight, *ctx.arguments = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    for_x, for_weight, *_ = ctx.needs_input_grad
    grad_x = _GRAD_INPUT(grad, x, weight, *ctx.arguments) if for_x else None
    grad_weight = _GRAD_WEIGHT(grad, x, weight, *ctx.arguments) if for_weight else None
    return grad_x, grad_weight, None, None, None, None, None


torch.library.register_autograd("dsnn_hpo::adder_conv2d", _backward, setup_context=_keep_inputs, lib=LIBRARY)
