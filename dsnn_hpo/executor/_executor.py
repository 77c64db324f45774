"""Freezing a trained network, and running it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dsnn_hpo.errors import InputError
from dsnn_hpo.executor._calibrate import observe
from dsnn_hpo.executor._correct import corrected
from dsnn_hpo.executor._describe import described
from dsnn_hpo.executor._formats import choose_formats, observed_names
from dsnn_hpo.executor._fuse import fused
from dsnn_hpo.executor._lower import lowered
from dsnn_hpo.executor._trace import trace
from dsnn_hpo.kernels import Implementation, use_implementation
from dsnn_hpo.kernels._library import compiled_library
from dsnn_hpo.kernels.compiled_plan import CompiledPlan
from dsnn_hpo.kernels.plan import Plan, run_reference

_N_TRACED = 2


class Executor:
    """A frozen network: integers only, from the quantised input to the float logits. Make one with ``freeze``."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._compiled: CompiledPlan | None = None

    @property
    def plan(self) -> Plan:
        """Returns the steps."""
        return self._plan

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the logits, float32 (n, classes), of normalised inputs x, float32 (n, c, h, w); see ``run``."""
        if compiled_library() is None:
            return run_reference(self._plan, x)
        if self._compiled is None:
            self._compiled = CompiledPlan(self._plan)
        return self._compiled(x)

    def run(self, x: Tensor, implementation: Implementation = Implementation.AUTO) -> Tensor:
        """Returns the logits by the compiled library or by plain torch: the same bits.

        AUTO takes what ``kernels.use_implementation`` chose, and outside of it the compiled library where it is built.
        The library runs by torch's number of threads.

        Raises:
            TypeError: x is no float32 tensor.
            ValueError: another shape or device than the network's, or NaN or infinity in x.
            KernelError: COMPILED, and the library is not built.
        """
        if implementation is Implementation.AUTO:
            return self(x)
        with use_implementation(implementation):
            return self(x)

    def __getstate__(self) -> dict[str, object]:
        """Returns the plan alone: the library's own one is made again where it is needed."""
        return {"_plan": self._plan, "_compiled": None}

    def describe(self) -> str:
        """Returns a table of the steps: layer, shape, bits, bytes of the weight, multiply-accumulates."""
        return described(self._plan)

    def __repr__(self) -> str:
        """Returns the table of the steps."""
        return f"Executor(\n{self.describe()}\n)"


def freeze(network: nn.Module, calibration: Tensor) -> Executor:
    """Returns an executor of the network as it is in eval mode; the network itself is left as it was.

    Batch normalisation, ReLU and sums go into the convolutions before them. Weights of shift layers keep their values
    exactly, packed, or of two terms as int8 where that holds them; other layers' become int8, a scale a channel.
    Activations become 8-bit integers, their scales found from the calibration samples; where a shift layer's
    fixed-point format is coarser, they take its grid. The weights of adders, Winograd adders and min-convolutions are
    rounded to the scale of the activation that they meet, and the mean error of that is taken off, channel by channel. What is
    not executed: shift weights of 7 or 8 bits of which a row spans more than 32 exponents, the most that codes of 6 bits
    hold (31 with zeros, which grouped convolutions of no multiple of 4 channels a group need); adders that are not yet
    annealed to the exponent 1.

    Args:
        network: trained, converted to any operators wholly, partly or not at all.
        calibration: some hundred normalised inputs, float32 (n, c, h, w), like those to come.

    Raises:
        FreezeError: the network holds something that the executor does not know; says where and what it knows.
        InputError: the calibration samples are of another shape or dtype, too few, or not finite.
    """
    _check_calibration(calibration)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        samples = calibration.detach()
        traced = trace(network, _at_least(samples, _N_TRACED))
        graph = fused(traced.graph)
        formats = choose_formats(graph, observe(traced.module, observed_names(graph), samples))
        graph = corrected(graph, formats, traced.module, samples)
    finally:
        for module, mode in modes.items():
            module.training = mode
    channels, height, width = samples.shape[1:]
    return Executor(lowered(graph, formats, (channels, height, width)))


def _check_calibration(calibration: Tensor) -> None:
    if not isinstance(calibration, Tensor) or calibration.dtype != torch.float32 or calibration.dim() != 4:
        found = f"{calibration.dtype} {tuple(calibration.shape)}" if isinstance(calibration, Tensor) else calibration
        raise InputError(f"calibration must be a float32 tensor (n, c, h, w), not {found}")
    if not math.prod(calibration.shape):
        raise InputError(f"calibration needs at least one sample, not shape {tuple(calibration.shape)}")
    if not torch.isfinite(calibration).all():
        raise InputError("a calibration sample holds NaN or infinity")


def _at_least(samples: Tensor, n: int) -> Tensor:
    # Two samples, so that a sample's shape is told from the batch's.
    return samples[torch.arange(n, device=samples.device) % len(samples)]
