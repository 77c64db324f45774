"""Operators by name: the choices that a search space has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from dsnn_hpo.errors import one_of
from dsnn_hpo.operators._config import ShiftConfig
from dsnn_hpo.operators._layer import Operator
from dsnn_hpo.operators._schemes import ShiftType


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


def _shift(shift_type: ShiftType) -> Callable[[ShiftConfig], ShiftConfig]:
    return lambda shift: replace(shift, shift_type=shift_type)


def _conv(_shift: ShiftConfig) -> None:
    return None


_DEEP_SHIFT = "DeepShift: Elhoushi et al., CVPR Workshops 2021, arXiv 1905.13298"

OPERATORS: Mapping[str, OperatorEntry] = MappingProxyType(
    {
        "shift_q": OperatorEntry("weights rounded to signed powers of two", _DEEP_SHIFT, _shift("Q")),
        "shift_ps": OperatorEntry("powers of two whose shift and sign are trained", _DEEP_SHIFT, _shift("PS")),
        "dense_shift": OperatorEntry(
            "zero-free powers of two from a sign and binary factors",
            "DenseShift: Li et al., ICCV 2023, arXiv 2208.09708",
            _shift("dense"),
        ),
        "s3": OperatorEntry(
            "powers of two and zero from a sign, a gate and binary factors",
            "S3: Li et al., NeurIPS 2021, arXiv 2107.03453",
            _shift("s3"),
        ),
        "two_term": OperatorEntry(
            "sums of two signed powers of two",
            "APoT: Li et al., ICLR 2020, arXiv 1909.13144",
            _shift("two_term"),
        ),
        "fixed_shift": OperatorEntry(
            "signed powers of two that are drawn and not trained",
            "ShiftAddNet: You et al., NeurIPS 2020, arXiv 2010.12785",
            _shift("fixed"),
        ),
        "conv": OperatorEntry("the float layer itself", "", _conv),
    }
)
