"""Linear and convolutional layers by minima (Yang et al., "MinConvNets", arXiv 2101.09492).

A product of two numbers is approximated by the smaller magnitude with the product's sign. With the bias b and a power of
two s, the nearest to the weight's root mean square::

    y = b + sum sgn(x) sgn(w) min(|s x|, |w|) = b + (sum |s x + w| - sum |s x - w|) / 2

so that the kernels of adder layers do it in two calls, with w and -w. As in the paper, what a network has learnt with
products carries over, and training goes on with the exact product's gradient (g is the output's)::

    dL/dx = (that of a convolution with w)          dL/dw = (that of a convolution of x)

The approximation holds where the two numbers are alike in mean and variance, which the paper's training enforces. Here s
does so, for activations with a root mean square of about 1, as batch normalisation makes them: a shift of each
activation. It follows the weight, and is a constant to the gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dsnn_hpo.kernels import adder_conv2d
from dsnn_hpo.operators._geometry import geometry_text, padded, take_geometry_
from dsnn_hpo.operators._layer import OperatorLayer

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]
"""Stride, padding, dilation and groups."""


@dataclass(frozen=True, slots=True)
class MinConv:
    """The operator of minima; it has no settings."""

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:  # noqa: ARG002
        """Returns the layer of minima that takes the place of a linear layer or a convolution, of any geometry.

        It starts from the float layer's weight, trained or not, as the paper does.
        """
        return MinLinear(module) if isinstance(module, nn.Linear) else MinConv2d(module)


class MinLayer(OperatorLayer):
    """The abstract base of layers of minima: the float layer's own parameters, ``weight`` and ``bias`` or None."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias = layer.bias

    def input_scale(self) -> Tensor:
        """Returns s, the power of two nearest to the root mean square of the weight, a scalar; 1 for a weight of zeros."""
        with torch.no_grad():
            size = self.weight.square().mean().sqrt()
            return torch.exp2(torch.round(torch.log2(torch.where(size > 0, size, torch.ones_like(size)))))

    def extra_repr(self) -> str:
        """Returns the weight's shape for ``repr``."""
        return "x".join(map(str, self.weight.shape))


class MinLinear(MinLayer):
    """A linear layer of minima, made from a float one."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (..., out_features) for x of shape (..., in_features)."""
        rows = x.reshape(-1, 1, 1, self.in_features)
        # The rows are the pixels of one image, if there are any.
        image = (rows.permute(1, 2, 0, 3) if len(rows) else rows).permute(0, 3, 1, 2)
        y = min_conv2d(image, self.weight[:, :, None, None], self.input_scale())
        y = y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias


class MinConv2d(MinLayer):
    """A convolution of minima with the geometry of the float one it is made from: groups, stride, padding and all."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(convolution)
        take_geometry_(self, convolution)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (n, out_channels, h', w') for x of shape (n, in_channels, h, w)."""
        x, padding = padded(self, x)
        y = min_conv2d(x, self.weight, self.input_scale(), (self.stride, padding, self.dilation, self.groups))
        return y if self.bias is None else y + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """Returns weight shape and geometry for ``repr``."""
        return super().extra_repr() + geometry_text(self)


def min_conv2d(x: Tensor, weight: Tensor, scale: Tensor, geometry: Geometry = ((1, 1), (0, 0), (1, 1), 1)) -> Tensor:
    """Returns ``sum sgn(x) sgn(w) min(|s x|, |w|)`` of every patch and filter, with the gradients of a convolution.

    x is of shape (n, c, h, w), ``weight`` (m, c // groups, kh, kw), ``scale`` s, a scalar above 0; raises as
    ``kernels.adder_conv2d``.
    """
    return _MinConv2d.apply(x, weight, scale, geometry)  # type: ignore[no-any-return, no-untyped-call]


class _MinConv2d(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        scaled = x * scale
        return adder_conv2d(scaled, weight, *geometry).sub_(adder_conv2d(scaled, -weight, *geometry)).mul_(0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        wanted = [*ctx.needs_input_grad[:2], False]
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, dilation, False, [0, 0], groups, wanted
        )
        return grad_x, grad_weight, None, None
