"""A plan in the compiled library."""

from __future__ import annotations

from torch import Tensor

from dsnn_hpo.kernels._implementation import Implementation
from dsnn_hpo.kernels.plan import Plan


class CompiledPlan:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def is_wanted(self, implementation: Implementation) -> bool:
        return False

    def __call__(self, x: Tensor) -> Tensor:
        raise NotImplementedError
