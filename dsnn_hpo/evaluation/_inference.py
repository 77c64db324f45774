"""Energy and latency of inference, measured on the network as it stands, in eval mode."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsnn_hpo.data import PreparedData, batches
from dsnn_hpo.energy import Meter
from dsnn_hpo.errors import TrialError
from dsnn_hpo.trial import Provenance

MAX_PREPARED_BYTES = 256 * 2**20
N_LATENCY_RUNS = 50


@dataclass(frozen=True, slots=True)
class InferenceEnergy:
    """Joules per 1,000 samples, over ``seconds`` of repeated passes, and how they were obtained."""

    energy_j: float
    seconds: float
    provenance: Provenance


@torch.inference_mode()
def measure_inference_energy(
    network: nn.Module, data: PreparedData, batch_size: int, meter: Meter, window_s: float
) -> InferenceEnergy:
    """Returns the energy of classifying validation samples: one warm-up pass, then passes for at least ``window_s``.

    The batches lie ready as float32 tensors, so that the network is measured and not the loading of its data; of a
    validation set above 256 MiB its first samples are used.

    Raises:
        TrialError: the meter read no energy.
    """
    inputs = _prepared_batches(data, batch_size)
    n_samples_a_pass = sum(len(batch) for batch in inputs)
    network.eval()
    _one_pass(network, inputs)
    meter.begin()
    n_passes, started = 0, time.monotonic()
    try:
        while time.monotonic() - started < window_s:
            _one_pass(network, inputs)
            n_passes += 1
    finally:
        energy = meter.end()
    if not energy.value_j > 0:
        raise TrialError(f"the energy meter read {energy.value_j} J over {energy.seconds:.1f} s, {energy.provenance}")
    per_thousand = energy.value_j / (n_passes * n_samples_a_pass) * 1000.0
    return InferenceEnergy(per_thousand, energy.seconds, energy.provenance)


@torch.inference_mode()
def measure_latency_ms(network: nn.Module, data: PreparedData) -> float:
    """Returns the median milliseconds to classify one sample, of 50 after 5 to warm up."""
    network.eval()
    sample = _prepared_batches(data, batch_size=1, n_batches=1)[0]
    times = []
    for run in range(N_LATENCY_RUNS + 5):
        started = time.perf_counter()
        network(sample)
        if run >= 5:
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000.0


def _prepared_batches(data: PreparedData, batch_size: int, n_batches: int | None = None) -> list[Tensor]:
    prepared: list[Tensor] = []
    n_bytes = 0
    for images, _ in batches(data.validation, batch_size, mean=data.mean, std=data.std, generator=None):
        prepared.append(images)
        n_bytes += images.numel() * images.element_size()
        if n_bytes >= MAX_PREPARED_BYTES or len(prepared) == n_batches:
            break
    return prepared


def _one_pass(network: nn.Module, inputs: list[Tensor]) -> None:
    for batch in inputs:
        network(batch)
