"""Linear and convolutional layers by additions alone (AdderNet, arXiv 1912.13200): negative l1 distances to filters.

With the exponent p, 1 for AdderNet itself, and the bias b of the float layer, if it has one::

    y[m] = b[m] - sum_k |x[k] - w[m, k]|**p

The gradients with respect to x and w are those of ``kernels.adder_conv2d``. That of each layer's weight is then brought
to one length, whatever the layer (eq. 12 and 13 of the paper; n is the number of weights)::

    dL/dw := eta * sqrt(n) / ||dL/dw||_2 * dL/dw

With SGD and eta = 0.2 a weight moves by 0.2 times the learning rate a step. Optimizers such as Adam take no notice of a
gradient's length and move it by the learning rate, which is small beside weights of about 1. So the layer asks for 20 times
the learning rate, and its gradient is 20 times shorter: that is the published pace for SGD, and one that Adam learns at too,
where the other layers do. Weight decay, which the factor would multiply, is left out: at the published 5e-4 it is too
slow to matter.

The outputs are large negative numbers; as in the paper, batch normalisation must follow, and the first and the last layer
of a network are best left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dsnn_hpo.kernels import adder_conv2d, adder_linear
from dsnn_hpo.operators._geometry import geometry_text, padded, take_geometry_
from dsnn_hpo.operators._layer import OperatorLayer

Annealing = Literal["none", "l2_to_l1"]
"""Whether the exponent is 1 always, or goes from 2 to 1 over the first half of the longest training."""

_ANNEALED_SHARE = 0.5
_PACE = 20.0
_DEVIATION = 2.0


@dataclass(frozen=True, slots=True)
class Adder:
    """How an adder layer learns; raises ValueError, naming field and range, for a value outside its range.

    ``eta`` is the root mean square of the weight's gradient, times 20; see the module for both. ``annealing`` "l2_to_l1" is
    Xu et al., "Universal Adder Neural Networks", arXiv 2105.14202: the exponent starts at 2, falls in proportion to the
    training's progress and is 1 from the half on, so that what is trained further than that is a true adder network.
    """

    eta: float = 0.2
    annealing: Annealing = "none"

    def __post_init__(self) -> None:
        if not 0 < self.eta < math.inf:
            raise ValueError(f"eta must be a finite number above 0, not {self.eta!r}")
        if self.annealing not in ("none", "l2_to_l1"):
            raise ValueError(f"annealing must be 'none' or 'l2_to_l1', not {self.annealing!r}")

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:
        """Returns the adder layer that takes the place of a linear layer or a convolution, of any geometry."""
        if isinstance(module, nn.Linear):
            return AdderLinear(module, self, from_trained=from_trained)
        return AdderConv2d(module, self, from_trained=from_trained)


class AdderLayer(OperatorLayer):
    """The abstract base of layers that sum distances: parameters ``weight`` and ``bias`` or None, how they learn.

    From scratch the weight is drawn from a normal distribution with a standard deviation of 2. The paper's has 1; but a
    weight must be beyond an activation to be subtracted from it, and where most are not, all outputs count how large the
    activations are, instead of what they are like. ``from_trained`` the weight is that of the float layer by
    ``gaussian_to_laplacian``.

    The buffer ``exponent``, a number, is there if the exponent is annealed: it is part of ``state_dict``, so that a network
    saved in the middle of the schedule stays what it is.
    """

    exponent: Tensor | None

    def __init__(self, layer: nn.Linear | nn.Conv2d, config: Adder, weight: Tensor) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
        self.bias = layer.bias
        is_annealed = config.annealing != "none"
        self.register_buffer("exponent", weight.new_tensor(2.0) if is_annealed else None)

    def current_exponent(self) -> float:
        """Returns the p of |x - w|**p at this moment, 1 to 2."""
        # Tensors of the meta device have shapes only, which no exponent changes.
        return 1.0 if self.exponent is None or self.exponent.is_meta else float(self.exponent)

    def set_progress_(self, fraction: float) -> None:
        """Sets the exponent of an annealed layer: 2 - 2 * fraction, at least 1."""
        if self.exponent is not None:
            self.exponent.fill_(2.0 - min(max(fraction, 0.0) / _ANNEALED_SHARE, 1.0))

    def undecayed_parameters(self) -> Sequence[nn.Parameter]:
        """Returns the weight: its learning rate would multiply the decay."""
        return (self.weight,)

    def lr_scales(self) -> Mapping[nn.Parameter, float]:
        """Returns the weight's factor of the learning rate."""
        return {self.weight: _PACE}

    def learning_weight(self) -> Tensor:
        """Returns the weight, whose gradient has a length of ``eta * sqrt(n)`` over the factor of the learning rate."""
        return _WithGradientOf.apply(self.weight, self.config.eta / _PACE)  # type: ignore[no-any-return, no-untyped-call]

    def extra_repr(self) -> str:
        """Returns weight shape and settings for ``repr``."""
        return f"{'x'.join(map(str, self.weight.shape))}, eta={self.config.eta}, annealing={self.config.annealing}"


class AdderLinear(AdderLayer):
    """A linear layer of distances, ``y = b - sum_k |x[k] - w[k]|**p``, made from a float one."""

    def __init__(self, linear: nn.Linear, config: Adder, *, from_trained: bool = False) -> None:
        super().__init__(linear, config, initial_weight(linear.weight, from_trained=from_trained))
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (..., out_features) for x of shape (..., in_features)."""
        y = adder_linear(x, self.learning_weight(), self.current_exponent())
        return y if self.bias is None else y + self.bias


class AdderConv2d(AdderLayer):
    """A convolution of distances with the geometry of the float one it is made from: groups, stride, padding and all.

    A pixel of padding counts as 0: its term is |0 - w|**p.
    """

    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def __init__(self, convolution: nn.Conv2d, config: Adder, *, from_trained: bool = False) -> None:
        super().__init__(convolution, config, initial_weight(convolution.weight, from_trained=from_trained))
        take_geometry_(self, convolution)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (n, out_channels, h', w') for x of shape (n, in_channels, h, w)."""
        x, padding = padded(self, x)
        weight, exponent = self.learning_weight(), self.current_exponent()
        y = adder_conv2d(x, weight, self.stride, padding, self.dilation, self.groups, exponent)
        return y if self.bias is None else y + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """Returns weight shape, settings and geometry for ``repr``."""
        return super().extra_repr() + geometry_text(self)


def initial_weight(weight: Tensor, *, from_trained: bool) -> Tensor:
    """Returns a weight to start from, shape, dtype and device of ``weight``: remapped from it, or drawn."""
    with torch.no_grad():
        return gaussian_to_laplacian(weight) if from_trained else torch.empty_like(weight).normal_(std=_DEVIATION)


def gaussian_to_laplacian(weight: Tensor) -> Tensor:
    """Returns a trained weight with the distribution of an adder's, shape and dtype of ``weight``.

    Trained products have weights close to a Gaussian, trained l1 distances to a Laplacian (AdderNet, fig. 3; ShiftAddAug,
    arXiv 2407.02881, maps one to the other to share weights). Each element goes to the same quantile of a Laplacian with
    mean 0 and standard deviation 2, which is the scale of an adder's first weights; with z = (w - mean) / std and the
    distribution function F of the normal distribution::

        w' = -sgn(z) * sqrt(2) * ln(2 * F(-|z|))

    A constant weight becomes 0. The order of a layer's weights stays, their scale does not.
    """
    centred = weight - weight.mean()
    deviation = centred.square().mean().sqrt()
    z = torch.where(deviation > 0, centred / deviation, torch.zeros_like(centred))
    tail: Tensor = torch.special.log_ndtr(-z.abs()) + math.log(2.0)
    return -torch.sign(z) * tail * (_DEVIATION / math.sqrt(2.0))


class _WithGradientOf(Function):
    """The identity, whose gradient has the root mean square ``eta``; a gradient of 0 stays 0."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, eta: float) -> Tensor:
        ctx.eta = eta
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        length = torch.linalg.vector_norm(grad)
        factor = torch.where(length > 0, ctx.eta * math.sqrt(grad.numel()) / length, torch.zeros_like(length))
        return grad * factor, None
