"""The optimizers of the search spaces, by name, and what ``momentum`` means to each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from dsnn_hpo.errors import InputError, one_of

ParameterGroups = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class OptimizerFamily:
    """One kind of optimizer.

    ``momentum`` says what a momentum is to it: the factor of its velocity, the decay of its first moment (beta1), or
    None where it has neither. ``second_moment`` is beta2, where the first is searched beside it.
    """

    constructor: Callable[..., Optimizer]
    momentum: Literal["momentum", "beta1"] | None
    second_moment: float = 0.999

    def arguments(self, momentum: float | None) -> dict[str, Any]:
        """Returns the keyword arguments that set the momentum; none for None, which means the family's default."""
        if momentum is None or self.momentum is None:
            return {}
        if self.momentum == "momentum":
            return {"momentum": momentum}
        return {"betas": (momentum, self.second_moment)}


def _ranger(groups: ParameterGroups, **arguments: Any) -> Optimizer:
    # Imported at first use: only the published search space asks for it.
    from pytorch_optimizer import Ranger

    optimizer: Optimizer = Ranger(groups, **arguments)
    return optimizer


OPTIMIZERS: Mapping[str, OptimizerFamily] = MappingProxyType(
    {
        "SGD": OptimizerFamily(torch.optim.SGD, "momentum"),
        "Adam": OptimizerFamily(torch.optim.Adam, "beta1"),
        "Adadelta": OptimizerFamily(torch.optim.Adadelta, None),
        "Adagrad": OptimizerFamily(torch.optim.Adagrad, None),
        "RMSprop": OptimizerFamily(torch.optim.RMSprop, "momentum"),
        "RAdam": OptimizerFamily(torch.optim.RAdam, "beta1"),
        "Ranger": OptimizerFamily(_ranger, "beta1"),
    }
)
_BY_LOWERED_NAME = {name.lower(): family for name, family in OPTIMIZERS.items()}


def optimizer_family(name: str) -> OptimizerFamily:
    """Returns the family of a name, whatever its case; raises InputError if there is none."""
    try:
        return _BY_LOWERED_NAME[name.lower()]
    except KeyError:
        raise InputError(f"there is no optimizer {one_of(name, OPTIMIZERS)}") from None
