"""What ConfigSpace 1.2 gets wrong, mended in place, so that it is right in every optimizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ConfigSpace import ForbiddenGreaterThanEqualsClause, ForbiddenLessThanEqualsClause

Floats = npt.NDArray[np.float64]


def _is_any_at_most(self: ForbiddenLessThanEqualsClause, arr: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(arr[self.vector_id] <= self.vector_value, dtype=np.bool_)


def _is_at_least(self: ForbiddenGreaterThanEqualsClause, vector: Floats) -> bool:
    return bool(vector[self.vector_id] >= self.vector_value)


def mend() -> None:
    """Has clauses of "at most" and "at least" do what they say (ConfigSpace 1.2.0 to 1.2.2).

    Of many configurations, the first forbids what is greater or equal: exactly what is forbidden would be drawn. The
    second prints each configuration that it looks at.
    """
    at_most: Any = ForbiddenLessThanEqualsClause
    at_most.is_forbidden_vector_array = _is_any_at_most
    at_least: Any = ForbiddenGreaterThanEqualsClause
    at_least.is_forbidden_vector = _is_at_least
