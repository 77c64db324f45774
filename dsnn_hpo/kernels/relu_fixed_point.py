"""ReLU and the rounding of its result to fixed point in one pass over memory.

A layer that rounds its input keeps the rounded tensor for its own gradient; a ReLU before it would keep the unrounded one
besides, only to know where its gradient passes. One bit an element is enough for that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dsnn_hpo.kernels._library import n_threads
from dsnn_hpo.kernels._ops import FLOAT, INT32, INT64, LIBRARY, POINTER, UINT64, flat_output, require_float, typed
from dsnn_hpo.kernels._philox import draw_seed, unsigned
from dsnn_hpo.kernels.fixed_point import (
    ROUNDINGS,
    FixedPointRounding,
    check_fixed_point,
    fixed_point_range,
    fixed_point_reference,
)


def relu_fixed_point_reference(
    x: Tensor,
    integer_bits: int,
    fraction_bits: int,
    rounding: FixedPointRounding = "floor",
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns ``fixed_point_reference(relu(x))``, shape and dtype of ``x``, and where the gradient of ReLU passes.

    The second result is uint8 (ceil(n / 8),): bit i % 8 of byte i // 8 is set unless x <= 0 at element i, counted in
    the order of the first result's memory. It is set at a NaN, as in torch. Raises as ``fixed_point_reference``.
    """
    check_fixed_point(x, integer_bits, fraction_bits, rounding)
    with torch.no_grad():
        dense = torch.empty_like(x).copy_(x)
        flat = dense.as_strided((dense.numel(),), (1,))
        passes = torch.zeros(-(-flat.numel() // 8) * 8, dtype=torch.uint8, device=x.device)
        passes[: flat.numel()] = ~(flat <= 0)
        powers = (2 ** torch.arange(8, device=x.device)).to(torch.uint8)
        positive = (passes.reshape(-1, 8) * powers).sum(dim=1, dtype=torch.uint8)
        return fixed_point_reference(dense.relu_(), integer_bits, fraction_bits, rounding, seed), positive


def relu_fixed_point(
    x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding = "floor"
) -> Tensor:
    """Returns ``fixed_point(relu(x), ...)``, with its gradient: that of ReLU, as rounding passes it unchanged.

    Stochastic rounding draws its seed from torch's generator of the CPU, once a call.
    """
    seed = draw_seed() if rounding == "stochastic" else None
    value: Tensor = _OP(x, integer_bits, fraction_bits, rounding, seed)[0]
    return value


def add_relu_fixed_point(
    x: Tensor, shortcut: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding = "floor"
) -> tuple[Tensor, Tensor]:
    """Returns ``relu(x + shortcut)`` and ``fixed_point(relu(x + shortcut), ...)``, with their gradients.

    What the end of a residual block and the rounding of the next one's input do. Both tensors are of one shape,
    device and dtype, else ValueError or TypeError; for the rest see ``relu_fixed_point``.
    """
    seed = draw_seed() if rounding == "stochastic" else None
    rectified, value, _ = _ADD_OP(x, shortcut, integer_bits, fraction_bits, rounding, seed)
    return rectified, value


LIBRARY.define(
    "relu_fixed_point(Tensor x, int integer_bits, int fraction_bits, str rounding, Tensor? seed=None)"
    " -> (Tensor value, Tensor positive)"
)
LIBRARY.define(
    "add_relu_fixed_point(Tensor x, Tensor shortcut, int integer_bits, int fraction_bits, str rounding,"
    " Tensor? seed=None) -> (Tensor rectified, Tensor value, Tensor positive)"
)
LIBRARY.define("relu_backward(Tensor grad, Tensor? other, Tensor positive) -> Tensor")
_OP = torch.ops.dsnn_hpo.relu_fixed_point.default
_ADD_OP = torch.ops.dsnn_hpo.add_relu_fixed_point.default
_BACKWARD = torch.ops.dsnn_hpo.relu_backward.default
_FORMAT = (FLOAT, FLOAT, FLOAT, FLOAT, INT32, UINT64, INT32)
_ARGUMENTS = (POINTER, POINTER, POINTER, POINTER, POINTER, INT64, *_FORMAT)
_BACKWARD_ARGUMENTS = (POINTER, POINTER, POINTER, POINTER, INT64, INT32)


def _relu_fixed_point(
    x: Tensor, integer_bits: int, fraction_bits: int, rounding: FixedPointRounding, seed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    check_fixed_point(x, integer_bits, fraction_bits, rounding)
    key = None if seed is None else int(seed)
    compiled = flat_output("relu_fixed_point", x)
    if compiled is None:
        return relu_fixed_point_reference(x, integer_bits, fraction_bits, rounding, key)
    loaded, value = compiled
    positive = x.new_empty(-(-x.numel() // 8), dtype=torch.uint8)
    typed(loaded, "dsnn_relu_fixed_point", *_ARGUMENTS)(
        x.data_ptr(),
        None,
        None,
        value.data_ptr(),
        positive.data_ptr(),
        x.numel(),
        *_format(integer_bits, fraction_bits, rounding, key),
    )
    return value, positive


def _add_relu_fixed_point(
    x: Tensor,
    shortcut: Tensor,
    integer_bits: int,
    fraction_bits: int,
    rounding: FixedPointRounding,
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    check_fixed_point(x, integer_bits, fraction_bits, rounding)
    _check_shortcut(x, shortcut)
    key = None if seed is None else int(seed)
    compiled = flat_output("add_relu_fixed_point", x)
    if compiled is None:
        # In the layout of x, whatever that of the shortcut.
        total = torch.empty_like(x).copy_(x).add_(shortcut)
        return total.relu(), *relu_fixed_point_reference(total, integer_bits, fraction_bits, rounding, key)
    loaded, value = compiled
    rectified = torch.empty_like(x)
    if shortcut.stride() != x.stride():
        shortcut = torch.empty_like(x).copy_(shortcut)
    positive = x.new_empty(-(-x.numel() // 8), dtype=torch.uint8)
    typed(loaded, "dsnn_relu_fixed_point", *_ARGUMENTS)(
        x.data_ptr(),
        shortcut.data_ptr(),
        rectified.data_ptr(),
        value.data_ptr(),
        positive.data_ptr(),
        x.numel(),
        *_format(integer_bits, fraction_bits, rounding, key),
    )
    return rectified, value, positive


def _format(
    integer_bits: int, fraction_bits: int, rounding: FixedPointRounding, seed: int | None
) -> tuple[float, float, float, float, int, int, int]:
    lowest, highest = fixed_point_range(integer_bits, fraction_bits, torch.float32)
    scale, step = 2.0**fraction_bits, 2.0**-fraction_bits
    return scale, step, lowest, highest, ROUNDINGS.index(rounding), unsigned(seed), n_threads()


def _check_shortcut(x: Tensor, shortcut: Tensor) -> None:
    require_float("add_relu_fixed_point", x, shortcut)
    if x.shape != shortcut.shape:
        raise ValueError(f"x and shortcut must be of one shape, not {tuple(x.shape)} and {tuple(shortcut.shape)}")
    if x.device != shortcut.device:
        raise ValueError(f"x and shortcut must be on one device, not on {x.device} and {shortcut.device}")


def _relu_backward(grad: Tensor, other: Tensor | None, positive: Tensor) -> Tensor:
    grads = (grad,) if other is None else (grad, other)
    _check_gradients(grads, positive)
    compiled = flat_output("relu_backward", *grads)
    if compiled is None:
        layout = torch.empty_like(grad)
        bits = (positive[:, None] >> torch.arange(8, device=positive.device)) & 1
        passes = bits.reshape(-1)[: grad.numel()].as_strided(layout.size(), layout.stride())
        return torch.where(passes.bool(), sum(grads[1:], start=grad), 0.0)
    loaded, grad_x = compiled
    typed(loaded, "dsnn_relu_backward", *_BACKWARD_ARGUMENTS)(
        grad.data_ptr(),
        None if other is None else other.data_ptr(),
        positive.data_ptr(),
        grad_x.data_ptr(),
        grad.numel(),
        n_threads(),
    )
    return grad_x


def _check_gradients(grads: tuple[Tensor, ...], positive: Tensor) -> None:
    grad = grads[0]
    if positive.dtype is not torch.uint8 or positive.shape != (-(-grad.numel() // 8),):
        raise ValueError(f"positive must be uint8 with a bit for each element of grad {tuple(grad.shape)}")
    if not positive.is_contiguous():
        raise ValueError(f"positive must be contiguous, not of strides {positive.stride()}")
    if any(g.shape != grad.shape for g in grads):
        raise ValueError(f"the gradients must be of one shape, not {[tuple(g.shape) for g in grads]}")
    devices = {str(tensor.device) for tensor in (*grads, positive)}
    if len(devices) > 1:
        raise ValueError(f"the gradients and positive must be on one device, not on {' and '.join(sorted(devices))}")


LIBRARY.impl("relu_fixed_point", _relu_fixed_point, "CompositeExplicitAutograd")
LIBRARY.impl("add_relu_fixed_point", _add_relu_fixed_point, "CompositeExplicitAutograd")
LIBRARY.impl("relu_backward", _relu_backward, "CompositeExplicitAutograd")


@torch.library.register_fake("dsnn_hpo::relu_fixed_point", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(
    x: Tensor, integer_bits: int, fraction_bits: int, rounding: str, _seed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    check_fixed_point(x, integer_bits, fraction_bits, rounding)
    return torch.empty_like(x), x.new_empty((x.numel() + 7) // 8, dtype=torch.uint8)


@torch.library.register_fake("dsnn_hpo::add_relu_fixed_point", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(
    x: Tensor, shortcut: Tensor, integer_bits: int, fraction_bits: int, rounding: str, _seed: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    check_fixed_point(x, integer_bits, fraction_bits, rounding)
    _check_shortcut(x, shortcut)
    return torch.empty_like(x), torch.empty_like(x), x.new_empty((x.numel() + 7) // 8, dtype=torch.uint8)


@torch.library.register_fake("dsnn_hpo::relu_backward", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _(grad: Tensor, _other: Tensor | None, _positive: Tensor) -> Tensor:
    return torch.empty_like(grad)


def _keep_positive(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG001
    *values, positive = output
    ctx.mark_non_differentiable(positive)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(positive)
    ctx.stride = values[0].stride()


def _of_relu(ctx: Any, *grads: Tensor | None) -> Tensor | None:
    """Returns the gradient of what goes into ReLU, from those of its results."""
    # The bits are in the order of the results' memory.
    given = [_of_stride(grad, ctx.stride) for grad in grads if grad is not None]
    if not given:
        return None
    (positive,) = ctx.saved_tensors
    total: Tensor = _BACKWARD(given[0], given[1] if len(given) > 1 else None, positive)
    return total


def _of_stride(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    if x.stride() == stride:
        return x
    return torch.empty_strided(x.size(), stride, dtype=x.dtype, device=x.device).copy_(x)


def _relu_fixed_point_backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, None, None, None, None]:
    return _of_relu(ctx, grad), None, None, None, None


def _add_relu_fixed_point_backward(
    ctx: Any, grad_rectified: Tensor | None, grad_value: Tensor | None, _: None
) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
    grad = _of_relu(ctx, grad_rectified, grad_value)
    return grad, grad, None, None, None, None


def _keep_bits(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[2])
    ctx.stride = output.stride()
    ctx.has_other = inputs[1] is not None


def _relu_backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    # Linear in its gradients, so that its own gradient is the same function.
    total = _of_relu(ctx, grad)
    return total, total if ctx.has_other else None, None


torch.library.register_autograd(
    "dsnn_hpo::relu_fixed_point", _relu_fixed_point_backward, setup_context=_keep_positive, lib=LIBRARY
)
torch.library.register_autograd(
    "dsnn_hpo::add_relu_fixed_point", _add_relu_fixed_point_backward, setup_context=_keep_positive, lib=LIBRARY
)
torch.library.register_autograd(
    "dsnn_hpo::relu_backward", _relu_backward_backward, setup_context=_keep_bits, lib=LIBRARY
)
