"""Linear and convolutional layers whose weights are signed powers of two (DeepShift, arXiv 1905.13298)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dsnn_hpo.kernels import (
    FEW_ROWS,
    MAX_CODE_BITS,
    MAX_COLUMNS,
    PackedWeight,
    add_relu_fixed_point,
    exponent_range,
    fuses,
    is_direct,
    linear_packed,
    pack,
    power_of_two_ps,
    power_of_two_q,
    straight_through_ps,
    straight_through_q,
)
from dsnn_hpo.operators._config import ShiftConfig, replaces
from dsnn_hpo.operators._fixed_point import FixedPoint
from dsnn_hpo.operators._layer import OperatorLayer, Penalty

# Of a smaller weight the float values are read as fast as the codes.
_WORTH_PACKING = 2**16
# What is computed from the parameters and kept; not part of a copy.
_KEPT = {"_rounded", "_packed"}

InputForm = Literal["plain", "before relu", "rounded"]
"""What a shift layer is given: its input, what its input is the ReLU of, or its input in fixed point already."""


@dataclass(frozen=True, slots=True)
class _RoundedWeight:
    """A rounded weight and the parameters it came from, to tell whether it is still theirs."""

    # Aliases: while they hold the memory, an equal address means the same memory.
    sources: tuple[Tensor, ...]
    versions: tuple[int, ...]
    value: Tensor

    def is_of(self, parameters: tuple[Tensor, ...]) -> bool:
        same_memory = all(
            (a.data_ptr(), a.dtype, a.device) == (p.data_ptr(), p.dtype, p.device)
            for a, p in zip(self.sources, parameters, strict=True)
        )
        return same_memory and self.versions == tuple(p._version for p in parameters)


class ShiftLayer(OperatorLayer):
    """The abstract base of layers that hold a weight of signed powers of two and a fixed-point bias.

    The parameters are ``weight`` (Q) or ``shift`` and ``sign`` (PS, the weight's shape), and ``bias`` or None;
    ``state_dict`` holds nothing else. While evaluating, the rounded weight is computed once. It is computed again
    after training, loading, moving, or any in-place change of a parameter, except one through ``parameter.data``,
    which PyTorch does not record: call ``eval()`` after that.
    """

    # PS from scratch: P ~ U(this interval, cut to the range of the bits); the published 5-bit initialisation.
    initial_shifts: ClassVar[tuple[float, float]]

    def __init__(self, layer: nn.Linear | nn.Conv2d, config: ShiftConfig, *, from_trained: bool) -> None:
        super().__init__()
        weight, bias = cast("nn.Parameter", layer.weight), cast("nn.Parameter | None", layer.bias)
        self.config = config
        self.fixed_point = FixedPoint(
            config.activation_integer_bits,
            config.activation_fraction_bits,
            config.activation_rounding,
            stochastic=config.rounding == "stochastic",
        )
        if config.shift_type == "Q":
            self.weight = weight
        else:
            shift, sign = _decomposed(weight, config) if from_trained else self._drawn(weight)
            self.shift = nn.Parameter(shift, requires_grad=weight.requires_grad)
            self.sign = nn.Parameter(sign, requires_grad=weight.requires_grad)
        self.bias = bias
        self._rounded: _RoundedWeight | None = None

    @property
    def weight_parameters(self) -> tuple[nn.Parameter, ...]:
        """Returns (weight,) for Q, (shift, sign) for PS."""
        return (self.weight,) if self.config.shift_type == "Q" else (self.shift, self.sign)

    def undecayed_parameters(self) -> Sequence[nn.Parameter]:
        """Returns P and S of PS, which ``squared_magnitudes`` regularises instead, as published."""
        return self.weight_parameters if self.config.shift_type == "PS" else ()

    def limits(self) -> Sequence[tuple[nn.Parameter, float, float]]:
        """Returns W of Q with [-1, 1], P of PS with the range of its codes.

        The values of the network do not change by that, since rounding limits them too, but without it a parameter
        could wander far outside its range and take as long to come back. S is never limited, as published. The
        released code also lifts |W| to the smallest code after each step; here W passes through zero freely, because a
        lifted W of few bits (2 bits: |W| >= 1/2) can hardly ever change its sign.
        """
        lowest, highest = exponent_range(self.config.shift_type, self.config.weight_bits)
        if self.config.shift_type == "PS":
            return ((self.shift, lowest, highest),)
        return ((self.weight, -(2.0**highest), 2.0**highest),)

    def penalties(self) -> Sequence[tuple[Penalty, nn.Parameter]]:
        """Returns the L2 penalty of the magnitudes of PS."""
        return ((squared_magnitudes, self.shift),) if self.config.shift_type == "PS" else ()

    def quantized_weight(self) -> Tensor:
        """Returns the weight of signed powers of two, with the gradient of ``kernels.power_of_two_q`` or ``_ps``."""
        parameters = self.weight_parameters
        if self.training or any(p.is_inference() for p in parameters):
            # Inference tensors do not record their changes, so nothing could tell when to round them again.
            return self._round(parameters)
        if self._rounded is None or not self._rounded.is_of(parameters):
            self._rounded = self._remember(parameters)
        value = self._rounded.value
        if not torch.is_grad_enabled():
            return value
        if self.config.shift_type == "Q":
            return straight_through_q(self.weight, value)
        return straight_through_ps(self.shift, self.sign, value)

    def quantized_bias(self) -> Tensor | None:
        """Returns the bias in the activations' fixed-point format, or None."""
        return None if self.bias is None else cast("Tensor", self.fixed_point(self.bias))

    def _rounded_input(self, x: Tensor, form: InputForm) -> Tensor:
        return x if form == "rounded" else cast("Tensor", self.fixed_point(x, after_relu=form == "before relu"))

    def train(self, mode: bool = True) -> Self:
        """Returns the layer itself, set to training or, with ``mode`` False, to evaluation."""
        self._forget()
        return super().train(mode)

    def extra_repr(self) -> str:
        """Returns weight shape and format for ``repr``."""
        shape = "x".join(map(str, self.weight_parameters[0].shape))
        return f"{shape}, {self.config.shift_type}, weight_bits={self.config.weight_bits}"

    def _round(self, parameters: tuple[Tensor, ...]) -> Tensor:
        rounding = self.config.rounding if self.training else "deterministic"
        if self.config.shift_type == "Q":
            return power_of_two_q(parameters[0], self.config.weight_bits, rounding)
        return power_of_two_ps(parameters[0], parameters[1], self.config.weight_bits, rounding)

    def _remember(self, parameters: tuple[Tensor, ...]) -> _RoundedWeight:
        # A tensor made in inference mode could not be used for gradients afterwards.
        with torch.inference_mode(False), torch.no_grad():
            sources = tuple(p.detach() for p in parameters)
            return _RoundedWeight(sources, tuple(p._version for p in parameters), self._round(parameters))

    def _forget(self) -> None:
        for name in _KEPT & self.__dict__.keys():
            setattr(self, name, None)

    def _drawn(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        lowest, highest = exponent_range("PS", self.config.weight_bits)
        low, high = (min(max(end, lowest), highest) for end in self.initial_shifts)
        return torch.empty_like(weight).uniform_(low, high), torch.empty_like(weight).uniform_(-1.0, 1.0)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._forget()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {name: None if name in _KEPT else value for name, value in self.__dict__.items()}


def squared_magnitudes(shifts: Sequence[Tensor], weight_decay: float) -> Tensor:
    """Returns ``weight_decay / 2 * sum((2**P)**2)`` over the unrounded P, a scalar.

    The L2 penalty of the weights' magnitudes (arXiv 1905.13298, released code). It can be differentiated once.
    """
    return _SquaredMagnitudes.apply(weight_decay, *shifts)  # type: ignore[no-any-return, no-untyped-call]


class _SquaredMagnitudes(Function):
    """Half the decay times the sum of 4**P, without a graph of its parts and with gradients in the layouts of P.

    That costs a third of the same in autograd: joining tensors that are channels_last copies them out of order, and
    so does adding what comes back to their other gradients.
    """

    @staticmethod
    def forward(ctx: Any, weight_decay: float, *shifts: Tensor) -> Tensor:
        squares = [torch.exp2_(doubled) for doubled in torch._foreach_mul(shifts, 2.0)]
        ctx.save_for_backward(*squares)
        ctx.weight_decay = weight_decay
        return 0.5 * weight_decay * torch.stack([square.sum() for square in squares]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # d(4**P)/dP = 2 ln 2 * 4**P
        gradients = torch._foreach_mul(ctx.saved_tensors, 0.5 * ctx.weight_decay * grad)
        torch._foreach_mul_(gradients, 2.0 * math.log(2.0))
        return None, *gradients


def _decomposed(weight: Tensor, config: ShiftConfig) -> tuple[Tensor, Tensor]:
    lowest, highest = exponent_range("PS", config.weight_bits)
    with torch.no_grad():
        magnitude = weight.abs()
        sign = torch.where(magnitude < 2.0 ** (lowest - 1), 0.0, torch.sign(weight))
        return torch.log2(magnitude.clamp(2.0**lowest, 2.0**highest)), sign


@replaces(nn.Linear)
class ShiftLinear(ShiftLayer):
    """A linear layer, ``y = fix(x) @ w~.T + fix(b)``, with the parameters of the float layer it is made from.

    Q keeps the float layer's weight, from scratch too, so that a network's own initialisation stays; PS draws P and S
    or, ``from_trained``, decomposes the weight: P = log2|W|, S = sign(W), zero below half the smallest code.
    """

    initial_shifts = (-14.0, 0.0)

    def __init__(self, linear: nn.Linear, config: ShiftConfig, *, from_trained: bool = False) -> None:
        super().__init__(linear, config, from_trained=from_trained)
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self._packed: tuple[_RoundedWeight, PackedWeight | None] | None = None

    def forward(self, x: Tensor, form: InputForm = "plain") -> Tensor:
        """Returns the layer's output, shape (..., out_features) for x of shape (..., in_features)."""
        x = self._rounded_input(x, form)
        if self._prefers_packed(x) and (packed := self._packed_weight()) is not None:
            return linear_packed(x, packed, self.quantized_bias())
        return F.linear(x, self.quantized_weight(), self.quantized_bias())

    def _prefers_packed(self, x: Tensor) -> bool:
        """Returns whether reading the packed weight is faster: few rows, a large weight, no gradient."""
        return (
            not (self.training or torch.is_grad_enabled())
            and self.config.weight_bits <= MAX_CODE_BITS
            and self.in_features <= MAX_COLUMNS
            and self.in_features * self.out_features >= _WORTH_PACKING
            and x.numel() <= FEW_ROWS * self.in_features
            and is_direct(x)
            and fuses(x)
            and not torch.is_autocast_enabled("cpu")
        )

    def _packed_weight(self) -> PackedWeight | None:
        """Returns the rounded weight, packed once; None where it cannot be kept or, after a divergence, is not finite."""
        value = self.quantized_weight()
        if self._rounded is None:
            return None
        if self._packed is None or self._packed[0] is not self._rounded:
            self._packed = (self._rounded, pack(value) if bool(torch.isfinite(value).all()) else None)
        return self._packed[1]


@replaces(nn.Conv2d)
class ShiftConv2d(ShiftLayer):
    """A 2-D convolution, ``y = fix(x) * w~ + fix(b)``, with parameters and geometry of a float convolution.

    Groups, stride, dilation, padding and padding mode are all those of the float layer. The weight starts as in
    ``ShiftLinear``.
    """

    initial_shifts = (-10.0, -1.0)

    def __init__(self, convolution: nn.Conv2d, config: ShiftConfig, *, from_trained: bool = False) -> None:
        super().__init__(convolution, config, from_trained=from_trained)
        self.in_channels = convolution.in_channels
        self.out_channels = convolution.out_channels
        self.kernel_size = convolution.kernel_size
        self.stride = convolution.stride
        self.padding = convolution.padding
        self.dilation = convolution.dilation
        self.groups = convolution.groups
        self.padding_mode = convolution.padding_mode
        self._border = list(convolution._reversed_padding_repeated_twice)

    def forward(self, x: Tensor, form: InputForm = "plain") -> Tensor:
        """Returns the layer's output, shape (n, out_channels, h', w') for x of shape (n, in_channels, h, w)."""
        x = self._rounded_input(x, form)
        weight, bias = self.quantized_weight(), self.quantized_bias()
        if self.padding_mode == "zeros":
            return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        x = F.pad(x, self._border, mode=self.padding_mode)
        return F.conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Returns weight shape, format and geometry for ``repr``."""
        names = ("stride", "padding", "dilation", "groups")
        return super().extra_repr() + "".join(f", {name}={getattr(self, name)}" for name in names)


def relu_then(layer: nn.Module, x: Tensor) -> Tensor:
    """Returns ``layer(relu(x))``, bit for bit; a shift layer in training takes both in one pass where that pays."""
    if isinstance(layer, ShiftLayer) and layer.training and fuses(x):
        return cast("Tensor", layer(x, "before relu"))
    return cast("Tensor", layer(F.relu(x)))


def add_relu_for(layer: ShiftLayer, x: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``relu(x + shortcut)`` and its rounded form, which ``layer`` takes as "rounded", in one pass."""
    return add_relu_fixed_point(x, shortcut, *layer.fixed_point.format)
