"""Energy and latency of inference, by a meter that is known and by the real one."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from dsnn_hpo.data import Split, load_dataset, prepare
from dsnn_hpo.energy import CodeCarbonMeter, Energy, EnergyConfig
from dsnn_hpo.errors import TrialError
from dsnn_hpo.evaluation import _inference
from dsnn_hpo.evaluation._inference import measure_inference_energy, measure_latency_ms
from dsnn_hpo.trial import Provenance

KNOWN = Provenance("known", "measured", "machine", "a bench")


class KnownMeter:
    """A meter that always reads the same, and notes when it was used."""

    def __init__(self, joules):
        self.joules = joules
        self.events = []

    def begin(self):
        self.events.append("begin")

    def end(self):
        self.events.append("end")
        return Energy(self.joules, co2_g=0.0, seconds=9.0, provenance=KNOWN)


class Counting(nn.Module):
    """Notes the batches that pass, the mode, and how many had passed when the meter began."""

    def __init__(self, meter=None):
        super().__init__()
        self.meter = meter
        self.batches = []
        self.modes = set()
        self.n_before = 0

    def forward(self, x):
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(x))
        self.modes.add(self.training)
        if self.meter is not None and not self.meter.events:
            self.n_before += 1
        return x.flatten(1)[:, :10]


class Busy(nn.Module):
    """Works for a time on the processor."""

    def __init__(self, n_rounds):
        super().__init__()
        self.n_rounds = n_rounds
        self.weight = torch.rand(256, 256)

    def forward(self, x):
        product = self.weight
        for _ in range(self.n_rounds):
            product = torch.tanh(product @ self.weight)
        return x.flatten(1)[:, :10] + product.mean()


@pytest.fixture(scope="module")
def data():
    rows = np.arange(400, dtype=np.int64)
    return prepare(load_dataset("digits"), Split(rows[:200], rows[200:330], rows[330:], test_is_pool=True))


def test_known_joules_give_the_exact_figure(data):
    meter = KnownMeter(6.5)
    network = Counting(meter)
    measured = measure_inference_energy(network, data, 50, meter, 0.05)
    assert meter.events == ["begin", "end"]
    # One pass to warm up: 130 images in batches of 50.
    assert network.n_before == 3
    assert set(network.batches) == {50, 30}
    n_measured = sum(network.batches) - 130
    assert n_measured % 130 == 0
    assert measured.energy_j == pytest.approx(6.5 / n_measured * 1000, rel=1e-12)
    assert (measured.seconds, measured.provenance) == (9.0, KNOWN)
    assert network.modes == {False}


def test_twice_the_joules_are_twice_the_figure_per_pass(data):
    figures = []
    for joules in (2.0, 4.0):
        network = Counting()
        measured = measure_inference_energy(network, data, 130, KnownMeter(joules), 0.02)
        figures.append(measured.energy_j * (len(network.batches) - 1))
    assert figures[1] == pytest.approx(2 * figures[0], rel=1e-12)


@pytest.mark.parametrize("window_s", [0.0, 0.2])
def test_the_window_is_kept_open_long_enough(data, window_s):
    meter = CodeCarbonMeter(EnergyConfig())
    measured = measure_inference_energy(Counting(), data, 64, meter, window_s + 0.01)
    assert measured.seconds >= window_s + 0.01


def test_a_slow_pass_is_finished_and_counted(data):
    class Slow(Counting):
        def forward(self, x):
            time.sleep(0.03)
            return super().forward(x)

    network = Slow()
    measured = measure_inference_energy(network, data, 130, KnownMeter(1.0), 0.001)
    assert network.batches == [130, 130]
    assert measured.energy_j == pytest.approx(1000 / 130)


def test_a_much_bigger_network_costs_more(data):
    meter = CodeCarbonMeter(EnergyConfig())
    small, large = (measure_inference_energy(Busy(n), data, 130, meter, 0.2).energy_j for n in (1, 60))
    assert large > 5 * small


@pytest.mark.parametrize("joules", [0.0, -1.0, float("nan")])
def test_a_meter_that_reads_nothing_fails_the_trial(data, joules):
    with pytest.raises(
        TrialError, match=r"read (0\.0|-1\.0|nan) J over 9\.0 s, measured \(known; whole machine; a bench\)"
    ):
        measure_inference_energy(Counting(), data, 64, KnownMeter(joules), 0.01)


def test_a_failing_network_leaves_no_window_open(data):
    meter = KnownMeter(1.0)

    class Failing(Counting):
        def forward(self, x):
            if meter.events:
                raise RuntimeError("no more")
            return super().forward(x)

    with pytest.raises(RuntimeError, match="no more"):
        measure_inference_energy(Failing(), data, 64, meter, 0.01)
    assert meter.events == ["begin", "end"]


def test_a_large_validation_set_is_measured_in_part(data, monkeypatch):
    # An image has 64 values of 4 bytes.
    monkeypatch.setattr(_inference, "MAX_PREPARED_BYTES", 20 * 256 + 1)
    network = Counting()
    measured = measure_inference_energy(network, data, 20, KnownMeter(1.0), 0.01)
    n_passes = len(network.batches) // 2 - 1
    assert set(network.batches) == {20}
    assert measured.energy_j == pytest.approx(1000 / (40 * n_passes))


def test_latency_is_the_median_of_single_samples(data):
    class Sleeping(Counting):
        def forward(self, x):
            # Five to warm up and a few outliers, none of which may count.
            time.sleep(0.05 if len(self.batches) < 8 else 0.002)
            return super().forward(x)

    network = Sleeping()
    latency_ms = measure_latency_ms(network, data)
    assert 2.0 <= latency_ms < 40.0
    assert network.batches == [1] * 55
    assert network.modes == {False}
