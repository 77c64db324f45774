"""How a shift layer represents its weights and activations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, TypeVar

from torch import nn

from dsnn_hpo.kernels import WeightRounding
from dsnn_hpo.operators._schemes import FAMILIES, ShiftType
from dsnn_hpo.operators._weight_scheme import WeightScheme

_CHOICES: Mapping[str, Collection[str]] = {
    "shift_type": FAMILIES,
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
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                allowed = " or ".join(map(repr, choices))
                raise ValueError(f"{name} must be {allowed}, not {getattr(self, name)!r}")
        family = FAMILIES[self.shift_type]
        self._check_bits("weight_bits", family.lowest_bits, family.highest_bits)
        self._check_bits("activation_integer_bits", 1, 32)
        self._check_bits("activation_fraction_bits", 1, 32)

    def _check_bits(self, name: str, lowest: int, highest: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, Integral) or not lowest <= int(value) <= highest:
            where = f" with shift_type {self.shift_type!r}" if name == "weight_bits" else ""
            raise ValueError(f"{name} must be an integer from {lowest} to {highest}{where}, not {value!r}")

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:
        """Returns the shift layer that takes the place, and the parameters, of a linear layer or a convolution."""
        return _LAYER_TYPES[type(module)](module, self, from_trained=from_trained)

    @property
    def scheme(self) -> WeightScheme:
        """Returns how the weight is made."""
        return FAMILIES[self.shift_type].scheme(self.weight_bits)

    @property
    def bias_bits(self) -> int:
        """Returns the width of a packed bias in bits: that of an activation, at most 32."""
        return min(self.activation_integer_bits + self.activation_fraction_bits, 32)
