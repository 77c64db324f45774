"""A plan in the compiled library."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from torch import Tensor

from dsnn_hpo.kernels._arena import arena_of
from dsnn_hpo.kernels._implementation import Implementation, use_implementation
from dsnn_hpo.kernels._library import compiled_library, n_threads
from dsnn_hpo.kernels._plan_abi import Records
from dsnn_hpo.kernels.plan import Plan, check_finite, check_input

_BAD_INPUT, _NO_MEMORY = 1, 2


class CompiledPlan:
    """A plan that runs in one call of the compiled library, by torch's number of threads.

    Several threads may run one at the same time. Raises KernelError where the library is not built.
    """

    def __init__(self, plan: Plan) -> None:
        with use_implementation(Implementation.COMPILED):
            loaded = compiled_library()
        assert loaded is not None
        self._plan = plan
        # Kept: the C plan points into its tensors.
        self._records = Records(plan, arena_of(plan))
        loaded.dsnn_plan_new.restype = ctypes.c_void_p
        handle = loaded.dsnn_plan_new(
            self._records.activations,
            len(plan.activations),
            self._records.steps,
            len(plan.steps),
            ctypes.byref(self._records.size),
        )
        if not handle:
            raise MemoryError("no memory for the plan")
        self._handle = ctypes.c_void_p(handle)
        self._run: Any = loaded.dsnn_plan_run
        weakref.finalize(self, loaded.dsnn_plan_free, self._handle)

    def __call__(self, x: Tensor) -> Tensor:
        """Returns ``run_reference(plan, x)``, bit by bit.

        Raises:
            TypeError: x is no float32 tensor.
            ValueError: another shape or device than the plan's, or NaN or infinity in x.
            MemoryError: no memory for the activations.
        """
        check_input(self._plan, x)
        x = x.detach().resolve_neg().contiguous()
        y = x.new_empty((len(x), self._plan.n_outputs))
        if not len(x):
            return y
        status = self._run(
            self._handle,
            ctypes.c_void_p(x.data_ptr()),
            ctypes.c_void_p(y.data_ptr()),
            ctypes.c_int64(len(x)),
            n_threads(),
        )
        if status & _NO_MEMORY:
            raise MemoryError("no memory for the activations")
        if status & _BAD_INPUT:
            check_finite(x)
        return y
