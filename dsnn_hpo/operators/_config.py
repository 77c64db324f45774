"""How a shift layer represents its weights and activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, TypeVar

from torch import nn

from dsnn_hpo.kernels import ShiftType, WeightRounding

_BIT_RANGES = {"weight_bits": (2, 8), "activation_integer_bits": (1, 32), "activation_fraction_bits": (1, 32)}
_CHOICES = {
    "shift_type": ("Q", "PS"),
    "rounding": ("deterministic", "stochastic"),
    "activation_rounding": ("floor", "nearest"),
}

_LAYER_TYPES: dict[type[nn.Module], Callable[..., nn.Module]] = {}
_LayerType = TypeVar("_LayerType", bound=type[nn.Module])


def replaces(float_layer: type[nn.Linear | nn.Conv2d]) -> Callable[[_LayerType], _LayerType]:
    """Returns a decorator of the shift layer that ``ShiftConfig.layer`` makes of such a float layer."""

    def registered(layer_type: _LayerType) -> _LayerType:
        # The layers are told from here, and not imported, because they are described by their configuration.
        _LAYER_TYPES[float_layer] = layer_type
        return layer_type

    return registered


@dataclass(frozen=True, slots=True)
class ShiftConfig:
    """The formats of a shift layer; raises ValueError, naming field and range, for a value outside its range.

    ``weight_bits`` and ``activation_integer_bits`` include the sign. Stochastic ``rounding`` applies to weights,
    activations and biases, and only while training; otherwise activations and biases are rounded by
    ``activation_rounding``.
    """

    shift_type: ShiftType = "Q"
    weight_bits: int = 5
    activation_integer_bits: int = 16
    activation_fraction_bits: int = 16
    rounding: WeightRounding = "deterministic"
    activation_rounding: Literal["floor", "nearest"] = "floor"

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _BIT_RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or not lowest <= int(value) <= highest:
                raise ValueError(f"{name} must be an integer from {lowest} to {highest}, not {value!r}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                allowed = " or ".join(map(repr, choices))
                raise ValueError(f"{name} must be {allowed}, not {getattr(self, name)!r}")

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:
        """Returns the shift layer that takes the place, and the parameters, of a linear layer or a convolution."""
        return _LAYER_TYPES[type(module)](module, self, from_trained=from_trained)

    @property
    def bias_bits(self) -> int:
        """Returns the width of a packed bias in bits: that of an activation, at most 32."""
        return min(self.activation_integer_bits + self.activation_fraction_bits, 32)
