"""One meter of counters, cards and models, on fakes of both and on the real CodeCarbon."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from codecarbon.input import DataSource

from dsnn_hpo.energy import Energy, EnergyConfig, _processor, _sensor_meter, make_meter
from dsnn_hpo.energy._processor import ByShare, ProcessorTimes, processor_times
from dsnn_hpo.energy._sensor_meter import SensorMeter
from dsnn_hpo.energy.sensors import SensorFacts, find_rapl
from dsnn_hpo.errors import ExperimentError, SensorError
from tests.energy.nvml import Card, library
from tests.energy.powercap import Powercap

MACHINE = EnergyConfig(scope="machine")
PROCESS = EnergyConfig(scope="process")


@pytest.fixture
def tree(tmp_path):
    return Powercap(tmp_path)


@pytest.fixture
def with_cards(monkeypatch):
    def give(*cards):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setitem(sys.modules, "pynvml", library(*cards))

    return give


def busy(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def methods(energy):
    return energy.provenance.method


def test_a_machine_with_all_sensors_is_measured(tree, with_cards):
    card = Card("GPU-1")
    with_cards(card)
    meter = make_meter(MACHINE, tree.root)
    meter.begin()
    tree.add("intel-rapl:0", 5.0)
    tree.add("intel-rapl:1", 3.0)
    tree.add("intel-rapl:1:1", 1.5)
    card.millijoules += 2500
    energy = meter.end()
    assert energy.value_j == pytest.approx(12.0)
    assert methods(energy) == "cpu: rapl, gpu: nvml counter, ram: rapl"
    assert (energy.provenance.quality, energy.provenance.scope) == ("measured", "machine")
    assert energy.provenance.hardware.endswith("cores, card 0 (NVIDIA H100)")


def test_emissions_are_joules_times_the_countrys_intensity_exactly(tree):
    for country in ("DEU", "FRA"):
        meter = make_meter(EnergyConfig(scope="machine", country=country, ram="none"), tree.root)
        meter.begin()
        tree.add("intel-rapl:0", 36.0)
        g_per_kwh = DataSource().get_global_energy_mix_data()[country]["carbon_intensity"]
        energy = meter.end()
        assert energy.co2_g == pytest.approx(energy.value_j / 3.6e6 * g_per_kwh, rel=1e-12)


def test_an_unknown_country_is_refused_and_not_the_worlds_average():
    with pytest.raises(ExperimentError, match="'ZZZ'"):
        make_meter(EnergyConfig(country="ZZZ"))


@pytest.mark.parametrize(
    ("ram", "method", "quality"),
    [("model", "cpu: rapl, ram: model", "estimated"), ("none", "cpu: rapl, ram: not counted", "measured")],
)
def test_memory_without_a_counter_is_a_model_or_nothing(tmp_path, ram, method, quality):
    tree = Powercap(tmp_path, dram=False)
    meter = make_meter(EnergyConfig(scope="machine", ram=ram), tree.root)
    meter.begin()
    tree.add("intel-rapl:0", 5.0)
    time.sleep(0.1)
    energy = meter.end()
    assert (methods(energy), energy.provenance.quality) == (method, quality)
    # The model is 5 W a module and 10 W at least (CodeCarbon's RAM_SLOT_POWER_X86).
    model_j = energy.value_j - 5.0
    assert model_j == pytest.approx(0.0, abs=1e-6) if ram == "none" else 0.9 < model_j < 60 * energy.seconds


@pytest.mark.parametrize("config", [MACHINE, PROCESS])
def test_without_sensors_it_is_codecarbons_estimate(tmp_path, config):
    meter = make_meter(config, tmp_path)
    meter.begin()
    busy(0.2)
    energy = meter.end()
    assert energy.value_j > 0
    assert methods(energy) == "cpu: cpu_load, ram: model"
    assert energy.provenance.quality == "estimated"


def test_working_costs_more_than_sleeping_without_sensors(tmp_path):
    meter = make_meter(PROCESS, tmp_path)
    powers = []
    for act in (time.sleep, busy):
        meter.begin()
        act(0.4)
        energy = meter.end()
        powers.append(energy.value_j / energy.seconds)
    assert powers[1] > powers[0]


def test_the_processor_s_counter_is_shared_by_processor_time(tree, monkeypatch):
    times = iter([ProcessorTimes(100.0, 10.0, 0.0), ProcessorTimes(108.0, 12.0, 5.0)])
    monkeypatch.setattr(_processor, "processor_times", lambda: next(times))
    sensor = ByShare(find_rapl(tree.root).sensors[0])
    sensor.start()
    tree.add("intel-rapl:0", 40.0)
    # 2 of the 8 seconds that all processes used were this one's.
    assert sensor.joules() == pytest.approx(10.0)
    assert str(sensor.facts) == (
        "cpu: rapl by share of processor time (package-0, package-1; this process's, estimated)"
    )


def test_joules_are_shared_second_by_second(tree, monkeypatch):
    monkeypatch.setattr(_processor, "SAMPLE_S", 1000.0)
    times = iter([ProcessorTimes(0, 0, 0), ProcessorTimes(1, 1, 1), ProcessorTimes(2, 1, 2)])
    monkeypatch.setattr(_processor, "processor_times", lambda: next(times))
    sensor = ByShare(find_rapl(tree.root).sensors[0])
    sensor.start()
    tree.add("intel-rapl:0", 1.0)
    sensor._advance()
    tree.add("intel-rapl:0", 40.0)
    # The 40 J came when another process worked.
    assert sensor.joules() == pytest.approx(1.0)


def test_a_process_that_sleeps_is_charged_next_to_nothing_beside_one_that_works(tmp_path):
    tree = Powercap(tmp_path, n_packages=1, dram=False)
    meter = make_meter(EnergyConfig(ram="none"), tree.root)
    # Started by a process that has ended, so that it is no child of ours.
    script = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time\\nwhile time.process_time() < 20: pass'], "
        "start_new_session=True, stdout=subprocess.DEVNULL); print(p.pid)"
    )
    neighbour = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    try:
        with tree.running("intel-rapl:0", watts=50.0, step_s=0.05) as counted:
            time.sleep(0.3)
            meter.begin()
            time.sleep(1.0)
            energy = meter.end()
    finally:
        os.kill(neighbour, 9)
    assert energy.value_j < 0.3 * counted[0]


def test_processor_time_of_children_is_ours_alive_and_after(tree):
    before = processor_times()
    code = "import time\nwhile time.process_time() < 0.3: pass\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        deadline = time.monotonic() + 60
        while processor_times().own_s - before.own_s < 0.25 and time.monotonic() < deadline:
            time.sleep(0.05)
        alive_s = processor_times().own_s - before.own_s
        child.communicate(b"\n")
    after_s = processor_times().own_s - before.own_s
    assert alive_s >= 0.25
    assert after_s >= alive_s - 0.05


def test_shares_lie_between_nothing_and_all():
    start = ProcessorTimes(10.0, 1.0, 0.0)
    assert ProcessorTimes(10.0, 1.0, 5.0).own_share(start) == 0.0
    # Ticks of the machine lag behind our own.
    assert ProcessorTimes(10.5, 2.0, 5.0).own_share(start) == 1.0
    assert ProcessorTimes(14.0, 2.0, 5.0).own_share(start) == pytest.approx(0.25)
    assert ProcessorTimes(10.5, 2.0, 5.0).others_use(start) == 0.0
    assert ProcessorTimes(14.0, 2.0, 5.0).others_use(start) == pytest.approx(3.0 / (5.0 * os.cpu_count()))


def worker(root, ready, go, results):
    from dsnn_hpo.energy import EnergyConfig, make_meter

    meter = make_meter(EnergyConfig(ram="none"), Path(root))
    ready.release()
    go.wait()
    meter.begin()
    busy(1.5)
    results.put(meter.end().value_j)


def test_several_workers_on_one_counter_are_never_charged_more_than_it_shows(tmp_path):
    tree = Powercap(tmp_path, n_packages=1, dram=False)
    context = multiprocessing.get_context("spawn")
    ready, go, results = context.Semaphore(0), context.Event(), context.Queue()
    workers = [context.Process(target=worker, args=(str(tmp_path), ready, go, results)) for _ in range(3)]
    for process in workers:
        process.start()
    for _ in workers:
        assert ready.acquire(timeout=120)
    with tree.running("intel-rapl:0", watts=50.0, step_s=0.02) as counted:
        go.set()
        charged = [results.get(timeout=120) for _ in workers]
    for process in workers:
        process.join()
    # 3 % for processor times that are counted in ticks of 10 ms.
    assert 0 < sum(charged) <= 1.03 * counted[0]
    # They did nearly all the work that was done between them, each as much: none is charged the whole counter.
    assert max(charged) < 0.75 * counted[0]


def test_cards_are_charged_to_a_process_only_if_it_uses_them(tmp_path, with_cards, monkeypatch):
    card = Card("GPU-1")
    with_cards(card)
    meter = make_meter(PROCESS, tmp_path)
    meter.begin()
    card.millijoules += 10**9
    energy = meter.end()
    assert energy.value_j < 1e5
    assert "gpu" not in methods(energy)
    # Whether it is used before the window, or first in it.
    for used in ([True, True], [False, True]):
        answers = iter([*used, *[True] * 9])
        monkeypatch.setattr(_sensor_meter, "uses_cuda", lambda answers=answers: next(answers))
        meter.begin()
        card.millijoules += 10**9
        energy = meter.end()
        assert energy.value_j > 1e6
        assert "gpu: nvml counter" in methods(energy)


def test_a_card_lost_that_is_not_charged_is_no_error(tmp_path, with_cards):
    card = Card("GPU-1")
    with_cards(card)
    meter = make_meter(PROCESS, tmp_path)
    meter.begin()
    card.is_lost = True
    assert meter.end().value_j > 0


def test_remarks_of_cards_reach_the_provenance(tmp_path, with_cards):
    with_cards(Card("GPU-1", pids=[1]))
    meter = make_meter(MACHINE, tmp_path)
    meter.begin()
    assert meter.end().provenance.remarks == ("card 0 (NVIDIA H100) was shared with other processes (1)",)


@pytest.mark.parametrize("config", [MACHINE, PROCESS])
def test_a_counter_that_vanishes_is_an_error_and_the_next_window_is_free(tree, config):
    meter = make_meter(config, tree.root)
    meter.begin()
    shutil.move(tree.root / "intel-rapl:0", tree.root / "gone")
    with pytest.raises(SensorError, match="cannot be read"):
        meter.end()
    with pytest.raises(SensorError, match="cannot be read"):
        meter.begin()
    shutil.move(tree.root / "gone", tree.root / "intel-rapl:0")
    meter.begin()
    tree.add("intel-rapl:0", 1.0)
    assert meter.end().value_j > 0


class Spy:
    """A sensor that notes when it reads, and fails when told to."""

    def __init__(self, events, name, fails_at=None, measured=True):
        self.facts = SensorFacts(name, "cpu", "spy", measured, "machine")
        self.remarks = ()
        self.events, self.fails_at = events, fails_at

    def _note(self, what):
        self.events.append(f"{self.facts.name} {what}")
        if self.fails_at == what:
            raise SensorError(f"{self.facts.name} failed")

    def start(self):
        self._note("start")

    def joules(self):
        self._note("joules")
        return 1.0


def test_counters_are_read_closest_to_the_work():
    events = []
    meter = SensorMeter(MACHINE, [Spy(events, "model", measured=False), Spy(events, "counter")])
    meter.begin()
    meter.end()
    assert events == ["model start", "counter start", "counter joules", "model joules"]


@pytest.mark.parametrize("fails_at", ["start", "joules"])
def test_one_failure_ends_the_readings_of_all(fails_at):
    events = []
    meter = SensorMeter(MACHINE, [Spy(events, "a", fails_at), Spy(events, "b"), Spy(events, "c")])

    def window():
        meter.begin()
        meter.end()

    with pytest.raises(SensorError, match="a failed"):
        window()
    assert {"b joules", "c joules"} <= set(events)


def test_work_that_fails_on_the_card_ends_the_readings(monkeypatch):
    events = []
    meter = SensorMeter(MACHINE, [Spy(events, "a")])
    meter.begin()

    def fails():
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(_sensor_meter, "synchronise", fails)
    with pytest.raises(RuntimeError, match="device-side"):
        meter.end()
    assert events == ["a start", "a joules"]


def test_the_card_is_waited_for_at_both_edges(monkeypatch):
    events = []
    monkeypatch.setattr(_sensor_meter, "synchronise", lambda: events.append("wait"))
    meter = SensorMeter(MACHINE, [Spy(events, "a")])
    meter.begin()
    meter.end()
    assert events == ["wait", "a start", "wait", "a joules"]


def test_windows_do_not_nest(tree):
    meter = make_meter(MACHINE, tree.root)
    with pytest.raises(RuntimeError, match="no open window"):
        meter.end()
    meter.begin()
    with pytest.raises(RuntimeError, match="windows do not nest"):
        meter.begin()
    tree.add("intel-rapl:0", 1.0)
    assert isinstance(meter.end(), Energy)


def test_a_machine_without_proc_stat_leaves_processes_to_codecarbon(tree, monkeypatch, tmp_path):
    monkeypatch.setattr(_processor, "STAT", tmp_path / "none")
    found = _sensor_meter.find_sensors(PROCESS, tree.root)
    assert [str(sensor.facts.kind) for sensor in found.sensors if sensor.facts.part == "cpu"] == ["cpu_load"]
    assert "processor time cannot be read" in found.lacks[0].what
