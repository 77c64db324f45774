"""The base of all multiplication-free layers: what training must know of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

Penalty: TypeAlias = Callable[[Sequence[nn.Parameter], float], Tensor]
"""A term of the loss, a scalar: of all parameters in the model that it is named for, and the weight decay."""


@runtime_checkable
class Operator(Protocol):
    """A kind of multiplication-free layer with all its settings."""

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:
        """Returns what takes the place of a float layer: a new module, or the layer itself where there is none.

        Args:
            module: a float layer; its parameters may be used, but not changed.
            from_trained: whether its weight is trained, and the new layer starts from it.
        """
        ...


class OperatorLayer(nn.Module):
    """The abstract base of multiplication-free layers; training asks these questions and knows no operator by name.

    Each has a default: weight decay like any parameter, the learning rate as it is, no limits, no penalty.
    """

    def undecayed_parameters(self) -> Sequence[nn.Parameter]:
        """Returns the layer's own parameters that weight decay must leave alone."""
        return ()

    def lr_scales(self) -> Mapping[nn.Parameter, float]:
        """Returns, for own parameters that learn at another pace, the factor of the learning rate."""
        return {}

    def limits(self) -> Sequence[tuple[nn.Parameter, float, float]]:
        """Returns own parameters, and the interval that each is put back into, in place, after an optimizer step."""
        return ()

    def penalties(self) -> Sequence[tuple[Penalty, nn.Parameter]]:
        """Returns the terms of the loss that own parameters take part in."""
        return ()

    def set_progress_(self, fraction: float) -> None:
        """Tells the layer, at an epoch's start, which share of the longest training lies behind at its end, 0 to 1."""
