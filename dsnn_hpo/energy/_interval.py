"""A mean and its 95 % interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

# Student's t, two-sided 95 %, of 1 to 30 degrees of freedom.
_T = (
    *(12.70620, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814),
    *(2.20099, 2.17881, 2.16037, 2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596),
    *(2.07961, 2.07387, 2.06866, 2.06390, 2.05954, 2.05553, 2.05183, 2.04841, 2.04523, 2.04227),
)
_Z = 1.959963985


def mean_and_ci95(values: Sequence[float]) -> tuple[float, float | None]:
    """Returns the mean and half the width of its 95 % interval by Student's t; None of a single value.

    It supposes that the values are independent and near to normal; windows of one measurement drift with the
    temperature, and the interval says nothing of what all windows have in common, such as a counter's scale.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    return mean, student_t(len(values) - 1) * statistics.stdev(values, mean) / math.sqrt(len(values))


def student_t(n_degrees: int) -> float:
    """Returns the 97.5 % quantile of Student's t distribution, to 4 digits (Abramowitz and Stegun, 26.7.5)."""
    if n_degrees <= len(_T):
        return _T[n_degrees - 1]
    first = (_Z**3 + _Z) / 4
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    return _Z + first / n_degrees + second / n_degrees**2
