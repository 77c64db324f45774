"""Energy and latency of inference, by a meter that is known and by the real one."""

from __future__ import annotations

import copy
import tempfile
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dsnn_hpo import kernels
from dsnn_hpo.data import Split, load_dataset, prepare
from dsnn_hpo.energy import Energy, EnergyConfig, MeasuringPlan, make_meter, measuring_alone
from dsnn_hpo.errors import EnergyError, FreezeError, InputError, TrialInterruptedError
from dsnn_hpo.evaluation import _evaluate, _inference, evaluate
from dsnn_hpo.evaluation._figures import EXECUTOR_FIGURES, Bench, check_executor
from dsnn_hpo.evaluation._inference import deployed, measure_latency
from dsnn_hpo.executor import freeze
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import Adder, ShiftConfig, convert_, set_progress_
from dsnn_hpo.trial import FailureCause, Provenance, Trial, TrialState

KNOWN = Provenance("known", "measured", "machine", "a bench")
# Others may do what they like: that a busy machine is told of is tested where it is measured.
PLAN = MeasuringPlan(0.02, warm_up_s=0.0, busy=1.0)
needs_kernels = pytest.mark.skipif(kernels.isa() is None, reason="the kernels are not built")


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


@pytest.fixture(autouse=True)
def _own_lock(monkeypatch, tmp_path):
    # What else is measured on this machine is not waited for.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def a_cnn(operator=None):
    torch.manual_seed(1)
    network = build_model("cnn", (1, 8, 8), 10, {"width": 6, "depth": 2})
    if operator is None:
        return network
    last = list(network.modules())[-1]
    return convert_(network, lambda layer, name: None if layer is last else operator, from_trained=False)


def emulated(network, data, meter, batch_size=130, plan=PLAN):
    return Bench(data, batch_size, meter, plan).measured(network, ["emulation_energy_j"])


def test_known_joules_give_the_exact_figure(data):
    meter = KnownMeter(6.5)
    network = Counting(meter)
    found = emulated(network, data, meter, batch_size=50)
    assert meter.events == ["begin", "end"]
    # One pass to warm up: 130 images in batches of 50.
    assert network.n_before == 3
    assert set(network.batches) == {50, 30}
    n_measured = sum(network.batches) - 130
    assert n_measured % 130 == 0
    assert found.values == {"emulation_energy_j": pytest.approx(6.5 / n_measured * 1000, rel=1e-12)}
    assert found.provenance == {"emulation_energy_j": KNOWN}
    assert found.spent_j == 6.5


def test_twice_the_joules_are_twice_the_figure_per_pass(data):
    figures = []
    for joules in (2.0, 4.0):
        network = Counting()
        found = emulated(network, data, KnownMeter(joules))
        figures.append(found.values["emulation_energy_j"] * (len(network.batches) - 1))
    assert figures[1] == pytest.approx(2 * figures[0], rel=1e-12)


def test_modes_are_those_of_evaluation_and_put_back_after(data):
    network = Counting()
    network.part = nn.BatchNorm2d(1).eval()
    emulated(network, data, KnownMeter(1.0))
    assert network.modes == {False}
    assert (network.training, network.part.training) == (True, False)


def test_a_slow_pass_is_finished_and_counted(data):
    class Slow(Counting):
        def forward(self, x):
            time.sleep(0.03)
            return super().forward(x)

    network = Slow()
    found = emulated(network, data, KnownMeter(1.0), plan=replace(PLAN, window_s=0.001))
    assert network.batches == [130, 130]
    assert found.values["emulation_energy_j"] == pytest.approx(1000 / 130)


def test_a_much_bigger_network_costs_more(data):
    meter = make_meter(EnergyConfig())
    plan = replace(PLAN, window_s=0.2)
    small, large = (emulated(Busy(n), data, meter, plan=plan).values["emulation_energy_j"] for n in (1, 60))
    assert large > 5 * small


@pytest.mark.parametrize("joules", [0.0, -1.0, float("nan")])
def test_a_meter_that_reads_nothing_is_no_figure(data, joules):
    with pytest.raises(EnergyError, match=r"read \S+ J per 1,000 samples, measured \(known; whole machine; a bench\)"):
        emulated(Counting(), data, KnownMeter(joules))


@pytest.mark.parametrize("joules", [0.0, float("nan")])
def test_a_meter_that_reads_nothing_fails_the_trial_which_is_billed(digits_task, monkeypatch, joules):
    def broken(data, batch_size, meter, plan):
        return Bench(data, batch_size, KnownMeter(joules), plan)

    monkeypatch.setattr(_evaluate, "Bench", broken)
    config = {"optimizer": "SGD", "lr": 0.05, "weight_bits": 4, "shift_depth": 1}
    result = evaluate(Trial(0, config, 1, 3), digits_task(objectives=("error", "emulation_energy_j")))
    assert (result.state, result.cause) == (TrialState.FAILED, FailureCause.EXCEPTION)
    assert "J per 1,000 samples" in result.error
    assert not result.values
    assert result.n_epochs == 1
    assert result.energy_j > 0


def test_a_failing_network_leaves_no_window_open_and_no_lock(data):
    meter = KnownMeter(1.0)

    class Failing(Counting):
        def forward(self, x):
            if meter.events:
                raise RuntimeError("no more")
            return super().forward(x)

    with pytest.raises(RuntimeError, match="no more"):
        emulated(Failing(), data, meter)
    assert meter.events == ["begin", "end"]
    with measuring_alone(wait_s=0.0):
        pass


def test_a_stop_is_asked_for_before_each_pass(data):
    meter, network = KnownMeter(1.0), Counting()

    def check():
        if len(network.batches) == 3:
            raise TrialInterruptedError("stopped")

    bench = Bench(data, 130, meter, replace(PLAN, window_s=60.0), check)
    with pytest.raises(TrialInterruptedError, match="stopped"):
        bench.measured(network, ["emulation_energy_j"])
    assert len(network.batches) == 3
    assert meter.events == ["begin", "end"]


def test_a_large_validation_set_is_measured_in_part(data, monkeypatch):
    # An image has 64 values of 4 bytes.
    monkeypatch.setattr(_inference, "MAX_PREPARED_BYTES", 20 * 256 + 1)
    network = Counting()
    found = emulated(network, data, KnownMeter(1.0), batch_size=20)
    n_passes = len(network.batches) // 2 - 1
    assert set(network.batches) == {20}
    assert found.values["emulation_energy_j"] == pytest.approx(1000 / (40 * n_passes))


def test_latency_is_the_median_of_single_samples(data):
    class Sleeping(Counting):
        def forward(self, x):
            # Five to warm up and a few outliers, none of which may count.
            time.sleep(0.05 if len(self.batches) < 8 else 0.002)
            return super().forward(x)

    network = Sleeping()
    latency = measure_latency(network.eval(), data)
    assert 2.0 <= latency.median_ms < 40.0
    assert latency.p95_ms >= latency.median_ms
    # Three of fifty were slow: more than the twentieth part above the percentile.
    assert latency.p95_ms > 25.0
    assert (latency.n_runs, network.batches) == (50, [1] * 55)


def test_what_is_at_rest_is_given_beside_the_figure(data):
    network = Counting()
    plan = replace(PLAN, idle_w=0.1, subtract_idle=True)
    found = emulated(network, data, KnownMeter(6.5), plan=plan)
    n_measured = sum(network.batches) - 130
    net_j, gross_j = (joules / n_measured * 1000 for joules in (6.5 - 0.1 * 9.0, 6.5))
    assert found.values == {
        "emulation_energy_j": pytest.approx(net_j),
        "emulation_energy_j_gross": pytest.approx(gross_j),
        "emulation_energy_j_net": pytest.approx(net_j),
    }
    assert found.provenance["emulation_energy_j"].idle_subtracted


def test_where_nothing_is_asked_for_nobody_is_waited_for(data):
    meter = KnownMeter(1.0)
    with measuring_alone():
        found = Bench(data, 130, meter, PLAN).measured(Counting(), ["error", "hardware_energy_uj"])
    assert (dict(found.values), dict(found.provenance), found.spent_j, meter.events) == ({}, {}, 0.0, [])


@needs_kernels
def test_figures_of_deployment_are_the_executor_s_and_only_those_asked_for(data):
    network, meter = a_cnn(ShiftConfig()).eval(), KnownMeter(6.5)
    n_passes = []
    network.register_forward_pre_hook(lambda module, _: n_passes.append(1) if module is network else None)
    bench = Bench(data, 50, meter, PLAN, n_latency_runs=20)
    found = bench.measured(network, ["error", "inference_energy_j", "latency_p95_ms"])
    # The float network learns; it is not what is deployed.
    assert n_passes == []
    assert found.values.keys() == {"inference_energy_j", "samples_per_s", "latency_ms", "latency_p95_ms"}
    assert found.values.keys() == found.provenance.keys()
    n_samples = 6500 / found.values["inference_energy_j"]
    assert found.values["samples_per_s"] == pytest.approx(n_samples / 9.0)
    assert found.provenance["inference_energy_j"] == KNOWN
    assert found.provenance["latency_ms"].method == "clock"
    assert found.provenance["latency_ms"].n_repeats == 20
    assert found.spent_j == 6.5
    assert 0 < found.values["latency_ms"] <= found.values["latency_p95_ms"]


@needs_kernels
def test_the_emulation_is_measured_beside_the_executor_under_its_own_name(data):
    network, meter = a_cnn(ShiftConfig()), KnownMeter(6.5)
    n_passes = []
    network.register_forward_pre_hook(lambda module, _: n_passes.append(1) if module is network else None)
    found = Bench(data, 130, meter, PLAN).measured(network, ["inference_energy_j", "emulation_energy_j"])
    # One pass of them to warm up.
    assert found.values["emulation_energy_j"] == pytest.approx(6500 / (130 * (len(n_passes) - 1)))
    assert found.values["inference_energy_j"] != found.values["emulation_energy_j"]
    assert found.spent_j == 13.0


@needs_kernels
def test_the_float_peer_is_measured_once(data):
    meter, peer = KnownMeter(6.5), Counting()
    bench = Bench(data, 130, meter, replace(PLAN, max_repeats=3))
    found = bench.measured(a_cnn(ShiftConfig()), ["inference_energy_j"], peer)
    assert found.provenance["inference_energy_j"].n_repeats == 3
    assert found.provenance["float32_energy_j"].n_repeats == 1
    assert found.provenance["float32_energy_j"].ci95 is None
    assert found.values["float32_energy_j"] == pytest.approx(6500 / (130 * (len(peer.batches) - 1)))
    assert found.spent_j == 4 * 6.5
    assert peer.training


@needs_kernels
@pytest.mark.parametrize("training", [True, False])
def test_annealed_adders_are_deployed_as_they_will_be_and_the_network_is_left_as_it_was(data, training):
    network = a_cnn(Adder(annealing="l2_to_l1")).train(training)
    set_progress_(network, 0.2)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(FreezeError, match="anneal"):
        freeze(network, torch.zeros(2, 1, 8, 8))
    logits = deployed(network, data)(torch.zeros(3, 1, 8, 8))
    assert logits.shape == (3, 10)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {module.training for module in network.modules()} == {training}


@needs_kernels
def test_a_network_that_the_executor_does_not_know_is_told(data):
    with pytest.raises(FreezeError):
        Bench(data, 130, KnownMeter(1.0), PLAN).measured(Busy(1), ["inference_energy_j"])


@pytest.mark.parametrize("name", sorted(EXECUTOR_FIGURES))
def test_without_kernels_the_error_names_the_figure_and_the_mend(data, monkeypatch, name):
    monkeypatch.setattr(kernels, "isa", lambda: None)
    with pytest.raises(InputError, match=rf"^{name}: .*dsnn-hpo doctor.*emulation_energy_j or hardware_energy_uj"):
        check_executor(["error", name])
    with pytest.raises(InputError, match="not compiled here"):
        Bench(data, 130, KnownMeter(1.0), PLAN).measured(Counting(), [name])


def test_without_kernels_the_emulation_is_measured(data, monkeypatch):
    monkeypatch.setattr(kernels, "isa", lambda: None)
    check_executor(["error", "emulation_energy_j", "hardware_energy_uj", "model_size_bytes"])
    assert emulated(Counting(), data, KnownMeter(1.0)).values["emulation_energy_j"] > 0
