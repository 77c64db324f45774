"""Operators by name: the choices that a search space has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from dsnn_hpo.errors import one_of
from dsnn_hpo.operators._config import ShiftConfig
from dsnn_hpo.operators._layer import Operator


@dataclass(frozen=True, slots=True)
class OperatorEntry:
    """An operator that has a name: what it is, where it was published, and how its settings are made.

    ``make`` takes the formats of shift weights and activations, which it may ignore, and the operator's own options.
    """

    description: str
    paper: str
    make: Callable[..., Operator | None]


def operator(name: str, shift: ShiftConfig, **options: Any) -> Operator | None:
    """Returns the operator of a name in ``OPERATORS`` with its settings, None for "conv": a float layer stays one.

    Raises ValueError for an unknown name.

    Args:
        name: a key of ``OPERATORS``.
        shift: formats of weights and activations; its ``shift_type`` is that of the name.
        options: the operator's own, see its class.
    """
    if name not in OPERATORS:
        raise ValueError(f"no operator {one_of(name, OPERATORS)}")
    return OPERATORS[name].make(shift, **options)


def _shift_q(shift: ShiftConfig) -> ShiftConfig:
    return replace(shift, shift_type="Q")


def _shift_ps(shift: ShiftConfig) -> ShiftConfig:
    return replace(shift, shift_type="PS")


def _conv(_shift: ShiftConfig) -> None:
    return None


_DEEP_SHIFT = "DeepShift: Elhoushi et al., CVPR Workshops 2021, arXiv 1905.13298"

OPERATORS: Mapping[str, OperatorEntry] = MappingProxyType(
    {
        "shift_q": OperatorEntry("weights rounded to signed powers of two", _DEEP_SHIFT, _shift_q),
        "shift_ps": OperatorEntry("powers of two whose shift and sign are trained", _DEEP_SHIFT, _shift_ps),
        "conv": OperatorEntry("the float layer itself", "", _conv),
    }
)
