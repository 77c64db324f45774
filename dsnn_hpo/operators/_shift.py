"""Linear and convolutional layers whose weights are signed powers of two (DeepShift, arXiv 1905.13298)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dsnn_hpo.kernels import (
    FEW_ROWS,
    MAX_CODE_BITS,
    MAX_COLUMNS,
    PackedWeight,
    add_relu_fixed_point,
    fuses,
    is_direct,
    linear_packed,
    pack,
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

    The parameters are those of the weight's family, such as ``weight`` (Q) or ``shift`` and ``sign`` (PS), and ``bias`` or
    None; ``state_dict`` holds nothing else but what a family keeps fixed. While evaluating, the rounded weight is computed once. It is computed again
    after training, loading, moving, or any in-place change of a parameter, except one through ``parameter.data``,
    which PyTorch does not record: call ``eval()`` after that.
    """

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
        self.scheme = config.scheme
        is_convolution = isinstance(layer, nn.Conv2d)
        held = self.scheme.initial(weight, from_trained=from_trained, is_convolution=is_convolution)
        for name, tensor in held.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)
        self._held_names = tuple(held)
        self.bias = bias
        self._rounded: _RoundedWeight | None = None

    @property
    def held(self) -> dict[str, Tensor]:
        """Returns what the weight is made of, by name: ``weight`` of Q, ``shift`` and ``sign`` of PS, and so on."""
        return {name: getattr(self, name) for name in self._held_names}

    @property
    def weight_parameters(self) -> tuple[nn.Parameter, ...]:
        """Returns the trained ones of what the weight is made of."""
        return tuple(tensor for tensor in self.held.values() if isinstance(tensor, nn.Parameter))

    def undecayed_parameters(self) -> Sequence[nn.Parameter]:
        """Returns the parameters that the weight's family leaves without weight decay."""
        return [getattr(self, name) for name in sorted(self.scheme.undecayed())]

    def limits(self) -> Sequence[tuple[nn.Parameter, float, float]]:
        """Returns the parameters that the weight's family limits, and their intervals."""
        return [(getattr(self, name), low, high) for name, (low, high) in self.scheme.limits().items()]

    def penalties(self) -> Sequence[tuple[Penalty, nn.Parameter]]:
        """Returns the penalties of the weight's family."""
        return [(penalty, getattr(self, name)) for name, penalty in self.scheme.penalties().items()]

    def quantized_weight(self) -> Tensor:
        """Returns the weight made of powers of two, with the gradient rule of its family."""
        held = self.held
        if self.training or any(tensor.is_inference() for tensor in held.values()):
            # Inference tensors do not record their changes, so nothing could tell when to round them again.
            return self.scheme.value(held, self.config.rounding if self.training else "deterministic")
        tensors = tuple(held.values())
        if self._rounded is None or not self._rounded.is_of(tensors):
            self._rounded = self._remember(held)
        value = self._rounded.value
        return self.scheme.with_gradient(held, value) if torch.is_grad_enabled() else value

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
        shape = "x".join(map(str, next(iter(self.held.values())).shape))
        return f"{shape}, {self.config.shift_type}, weight_bits={self.config.weight_bits}"

    def _remember(self, held: Mapping[str, Tensor]) -> _RoundedWeight:
        # A tensor made in inference mode could not be used for gradients afterwards.
        with torch.inference_mode(False), torch.no_grad():
            sources = tuple(tensor.detach() for tensor in held.values())
            versions = tuple(tensor._version for tensor in held.values())
            return _RoundedWeight(sources, versions, self.scheme.value(held, "deterministic"))

    def _forget(self) -> None:
        for name in _KEPT & self.__dict__.keys():
            setattr(self, name, None)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._forget()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {name: None if name in _KEPT else value for name, value in self.__dict__.items()}


@replaces(nn.Linear)
class ShiftLinear(ShiftLayer):
    """A linear layer, ``y = fix(x) @ w~.T + fix(b)``, with the parameters of the float layer it is made from.

    How the weight starts, from scratch and ``from_trained``, is its family's: see ``_deepshift``, ``_dense_shift``,
    ``_s3``, ``_two_term`` and ``_fixed_shift``.
    """

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
            and self.scheme.is_signed_power
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
