"""Inference measured: on the compiled executor, which is what a user would deploy, and on the float network that learns."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsnn_hpo.data import PreparedData, batches
from dsnn_hpo.executor import Executor, freeze
from dsnn_hpo.operators import set_progress_

MAX_PREPARED_BYTES = 256 * 2**20
N_CALIBRATION = 256
N_LATENCY_RUNS = 50
N_LATENCY_WARM_UPS = 5

Classify = Callable[[Tensor], Tensor]
"""Returns logits (n, classes) of normalised inputs, float32 (n, c, h, w): a network or an executor."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds to classify one sample (batch size 1): median and 95th percentile of ``n_runs``."""

    median_ms: float
    p95_ms: float
    n_runs: int


def deployed(network: nn.Module, data: PreparedData) -> Executor:
    """Returns the network as it would be deployed: frozen, calibrated on training samples.

    Layers that training has yet to bring into their final form, annealed adders at a low fidelity, are taken in that
    form: the figures are of its operations, and its weights matter little to them. The network itself is left as it was.

    Raises:
        FreezeError: the network holds something that the executor does not know.
    """
    final = copy.deepcopy(network).eval()
    set_progress_(final, 1.0)
    calibration, _ = next(batches(data.train, N_CALIBRATION, mean=data.mean, std=data.std, generator=None))
    return freeze(final, calibration)


class Passes:
    """Passes over validation samples, for ``measure``: each call is one, and returns the number of its samples.

    The batches lie ready as float32 tensors, so that the network is measured and not the loading of its data; of a
    validation set above 256 MiB its first samples are used.

    Args:
        classify: a network in evaluation mode, or an executor.
        data: of the run.
        batch_size: samples at a time.
        before: called before each pass.
        device: where the batches lie.
    """

    def __init__(
        self,
        classify: Classify,
        data: PreparedData,
        batch_size: int,
        before: Callable[[], None] = lambda: None,
        device: str = "cpu",
    ) -> None:
        self._classify = classify
        self._before = before
        self._inputs = [batch.to(device) for batch in _prepared_batches(data, batch_size)]
        self._n_samples = sum(len(batch) for batch in self._inputs)

    @torch.inference_mode()
    def __call__(self) -> int:
        """Returns how many samples were classified."""
        self._before()
        for batch in self._inputs:
            self._classify(batch)
        return self._n_samples


@torch.inference_mode()
def measure_latency(classify: Classify, data: PreparedData, n_runs: int = N_LATENCY_RUNS) -> Latency:
    """Returns the time to classify one sample, of ``n_runs`` after 5 to warm up."""
    sample = _prepared_batches(data, batch_size=1, n_batches=1)[0]
    times = []
    for run in range(n_runs + N_LATENCY_WARM_UPS):
        started = time.perf_counter()
        classify(sample)
        if run >= N_LATENCY_WARM_UPS:
            times.append(1000.0 * (time.perf_counter() - started))
    return Latency(statistics.median(times), statistics.quantiles(times, n=20)[-1], len(times))


def _prepared_batches(data: PreparedData, batch_size: int, n_batches: int | None = None) -> list[Tensor]:
    prepared: list[Tensor] = []
    n_bytes = 0
    for images, _ in batches(data.validation, batch_size, mean=data.mean, std=data.std, generator=None):
        prepared.append(images)
        n_bytes += images.numel() * images.element_size()
        if n_bytes >= MAX_PREPARED_BYTES or len(prepared) == n_batches:
            break
    return prepared
