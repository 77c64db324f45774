"""The families of weights made of powers of two, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from dsnn_hpo.operators._deepshift import DeepShiftPS, DeepShiftQ
from dsnn_hpo.operators._dense_shift import DenseShift
from dsnn_hpo.operators._fixed_shift import FixedShift
from dsnn_hpo.operators._s3 import S3
from dsnn_hpo.operators._two_term import TwoTerm
from dsnn_hpo.operators._weight_scheme import WeightScheme

ShiftType = Literal["Q", "PS", "dense", "s3", "two_term", "fixed"]


@dataclass(frozen=True, slots=True)
class Family:
    """A family of weights: how to make its scheme for a number of bits, and which numbers it has."""

    scheme: Callable[[int], WeightScheme]
    lowest_bits: int
    highest_bits: int


# DenseShift and S3 train a tensor for each exponent: 16 at 5 bits.
FAMILIES: Mapping[ShiftType, Family] = MappingProxyType(
    {
        "Q": Family(DeepShiftQ, 2, 8),
        "PS": Family(DeepShiftPS, 2, 8),
        "dense": Family(DenseShift, 2, 5),
        "s3": Family(S3, 2, 5),
        "two_term": Family(TwoTerm, 2, 8),
        "fixed": Family(FixedShift, 2, 8),
    }
)
