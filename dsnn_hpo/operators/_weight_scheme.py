"""How a weight of powers of two is held and made: the base of every family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsnn_hpo.kernels import WeightRounding
from dsnn_hpo.operators._layer import Penalty

Held = Mapping[str, Tensor]
"""What a layer keeps of a scheme, by name: trained parameters and fixed tensors, all but scalars of the weight's shape."""


@dataclass(frozen=True, slots=True)
class WeightScheme(ABC):
    """One way to make a weight whose multiplication is a shift and a sign, or two of them, from trained tensors.

    Attributes:
        weight_bits: of a shift and its sign.
    """

    weight_bits: int

    @property
    def code_bits(self) -> int:
        """Returns the bits that a weight takes, packed."""
        return self.weight_bits

    @property
    def is_signed_power(self) -> bool:
        """Returns whether every weight is a signed power of two or zero."""
        return True

    @abstractmethod
    def initial(self, weight: nn.Parameter, *, from_trained: bool, is_convolution: bool) -> dict[str, Tensor]:
        """Returns what a layer begins with: each ``nn.Parameter`` is trained, each other tensor is kept as it is.

        Args:
            weight: of the float layer; it may become a parameter itself.
            from_trained: whether the weight is trained and its values are to be met, or the draw is the scheme's.
            is_convolution: whether the layer is a convolution and not a linear layer.
        """

    @abstractmethod
    def value(self, held: Held, rounding: WeightRounding) -> Tensor:
        """Returns the weight, with the scheme's gradient rule."""

    def terms(self, held: Held) -> tuple[Tensor, ...]:
        """Returns the powers of two, signed or zero, whose sum is the weight without rounding at random."""
        return (self.value(held, "deterministic"),)

    def with_gradient(self, held: Held, value: Tensor) -> Tensor:  # noqa: ARG002 - made again where nothing is saved
        """Returns ``value``, computed from ``held`` earlier without rounding at random, with the gradient rule."""
        return self.value(held, "deterministic")

    def undecayed(self) -> frozenset[str]:
        """Returns the names of the parameters that weight decay leaves alone."""
        return frozenset()

    def limits(self) -> Mapping[str, tuple[float, float]]:
        """Returns the intervals that parameters are put back into after each step, by name."""
        return {}

    def penalties(self) -> Mapping[str, Penalty]:
        """Returns the penalties of parameters, by name."""
        return {}


def root_mean_square(x: Tensor) -> Tensor:
    """Returns the root of the mean of squares, a scalar, at least the smallest normal number of the dtype."""
    return x.square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny)
