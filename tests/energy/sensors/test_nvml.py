"""NVIDIA's cards, on a library that answers as theirs does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pynvml
import pytest

from dsnn_hpo.energy.sensors import find_cards, nvml
from dsnn_hpo.errors import SensorError
from tests.energy.nvml import Card, library

FIRST, SECOND, THIRD = "GPU-11111111-aaaa", "GPU-22222222-bbbb", "GPU-22222222-cccc"


@pytest.fixture
def machine(monkeypatch):
    """Returns a function that gives the machine these cards and returns the sensors, and what is lacking."""

    def make(*cards, environment=None, fails=None):
        monkeypatch.setitem(sys.modules, "pynvml", library(*cards, fails=fails))
        return find_cards(environment or {})

    return make


@pytest.fixture(autouse=True)
def _no_cuda(monkeypatch):
    monkeypatch.setattr(nvml, "uses_cuda", lambda: False)


def test_a_card_that_counts_is_read_by_its_counter(machine):
    card = Card(FIRST)
    [sensor] = machine(card).sensors
    assert str(sensor.facts) == "gpu: nvml counter (card 0 (NVIDIA H100); the whole device's, measured)"
    sensor.start()
    card.millijoules += 12_345
    assert sensor.joules() == pytest.approx(12.345)
    assert sensor.remarks == ()


def test_a_card_without_a_counter_is_read_by_its_power(machine):
    card = Card(FIRST, millijoules=None, milliwatts=100_000)
    [sensor] = machine(card).sensors
    assert sensor.facts.kind == "nvml power"
    sensor.start()
    started = time.monotonic()
    time.sleep(0.35)
    card.milliwatts = 300_000
    time.sleep(0.35)
    joules, seconds = sensor.joules(), time.monotonic() - started
    # Half of the time 100 W and half 300 W, but for the tenth of a second in which it changed.
    assert joules == pytest.approx(200.0 * seconds, rel=0.25)
    assert joules > 130.0 * seconds


def test_power_is_integrated_by_the_trapezoidal_rule(machine, monkeypatch):
    card = Card(FIRST, millijoules=None, milliwatts=100_000)
    [sensor] = machine(card).sensors
    monkeypatch.setattr(nvml.Sampler, "start", lambda sampler: None)
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(nvml, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    sensor.start()
    card.milliwatts = 300_000
    assert sensor.joules() == pytest.approx((100 + 300) / 2 * 2.0)


@pytest.mark.parametrize("millijoules", [5_000_000, None])
def test_a_card_lost_in_mid_window_is_an_error(machine, millijoules):
    card = Card(FIRST, millijoules=millijoules)
    [sensor] = machine(card).sensors
    sensor.start()
    card.is_lost = True
    with pytest.raises(SensorError, match=r"card 0 \(NVIDIA H100\) cannot be read: GPU is lost"):
        sensor.joules()


def test_a_card_lost_and_found_in_mid_window_is_an_error_where_power_is_integrated(machine):
    card = Card(FIRST, millijoules=None)
    [sensor] = machine(card).sensors
    sensor.start()
    card.is_lost = True
    time.sleep(0.3)
    card.is_lost = False
    with pytest.raises(SensorError, match="GPU is lost"):
        sensor.joules()


def test_a_counter_that_goes_back_is_an_error(machine):
    card = Card(FIRST)
    [sensor] = machine(card).sensors
    sensor.start()
    card.millijoules = 1000
    with pytest.raises(SensorError, match=r"went back by 4999\.000 J"):
        sensor.joules()


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (None, ["card 0", "card 1", "card 2"]),
        ("", []),
        ("-1", []),
        ("1", ["card 1"]),
        ("2, 0", ["card 2", "card 0"]),
        ("0,-1,1", ["card 0"]),
        ("1,1", ["card 1"]),
        (SECOND, ["card 1"]),
        ("GPU-1111", ["card 0"]),
    ],
)
def test_only_the_cards_that_cuda_may_use_are_read(machine, listed, names):
    environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    found = machine(Card(FIRST), Card(SECOND), Card(THIRD), environment=environment)
    assert [sensor.facts.name.partition(" (")[0] for sensor in found.sensors] == names
    assert found.lacks == ()


@pytest.mark.parametrize("listed", ["0,7", "0,GPU-9999", "0,GPU-2222", "0,MIG-unknown"])
def test_a_card_that_is_not_there_ends_the_list_and_is_told(machine, listed):
    found = machine(Card(FIRST), Card(SECOND), Card(THIRD), environment={"CUDA_VISIBLE_DEVICES": f"{listed},1"})
    assert len(found.sensors) == 1
    assert f"names '{listed[2:]}', which is none of the 3 cards" in found.lacks[0].what


@pytest.mark.parametrize("listed", ["MIG-part-1", f"MIG-{SECOND}/3/0", "1"])
def test_a_part_of_a_card_is_charged_all_of_it_and_says_so(machine, listed):
    card = Card(SECOND, parts=("MIG-part-1", "MIG-part-2"))
    found = machine(Card(FIRST), card, environment={"CUDA_VISIBLE_DEVICES": listed})
    [sensor] = found.sensors
    sensor.start()
    card.millijoules += 1000
    assert sensor.joules() == pytest.approx(1.0)
    assert sensor.remarks == ("card 1 (NVIDIA H100) is split (MIG): the energy is the whole card's",)


def test_two_parts_of_a_card_are_one_card(machine):
    card = Card(FIRST, parts=("MIG-part-1", "MIG-part-2"))
    found = machine(card, environment={"CUDA_VISIBLE_DEVICES": "MIG-part-1,MIG-part-2"})
    assert len(found.sensors) == 1


@pytest.mark.parametrize(("order", "n_remarks"), [(None, 1), ("PCI_BUS_ID", 0)])
def test_numbers_of_cards_that_differ_are_doubted(machine, order, n_remarks):
    environment = {"CUDA_VISIBLE_DEVICES": "0"} | ({"CUDA_DEVICE_ORDER": order} if order else {})
    [sensor] = machine(Card(FIRST), Card(SECOND, name="NVIDIA T4"), environment=environment).sensors
    sensor.start()
    sensor.joules()
    assert len(sensor.remarks) == n_remarks


@pytest.mark.parametrize("when", ["begin", "end"])
def test_other_processes_on_the_card_are_told(machine, when):
    card = Card(FIRST, pids=[os.getpid()] + ([1] if when == "begin" else []))
    [sensor] = machine(card).sensors
    sensor.start()
    card.pids = [os.getpid()] + ([1] if when == "end" else [])
    sensor.joules()
    assert sensor.remarks == ("card 0 (NVIDIA H100) was shared with other processes (1)",)


def test_this_process_and_its_children_are_no_others(machine):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        [sensor] = machine(Card(FIRST, pids=[os.getpid(), child.pid])).sensors
        sensor.start()
        sensor.joules()
        child.communicate(b"\n")
    assert sensor.remarks == ()


def test_in_a_container_one_unknown_process_may_be_this_one(machine, monkeypatch):
    monkeypatch.setattr(nvml, "uses_cuda", lambda: True)
    card = Card(FIRST, pids=[4_000_000])
    [sensor] = machine(card).sensors
    sensor.start()
    sensor.joules()
    assert sensor.remarks == ()
    sensor.start()
    card.pids.append(4_000_001)
    sensor.joules()
    assert sensor.remarks == ("card 0 (NVIDIA H100) was shared with other processes (1)",)


def test_a_driver_that_does_not_tell_who_computes_is_told_of(machine):
    [sensor] = machine(Card(FIRST, is_old=True)).sensors
    sensor.start()
    sensor.joules()
    assert "not known" in sensor.remarks[0]


def test_no_driver_is_no_lack(machine):
    found = machine(fails=pynvml.NVMLError_LibraryNotFound)
    assert (found.sensors, found.lacks) == ((), ())


def test_a_driver_that_is_broken_is_lacking(machine):
    [lack] = machine(fails=pynvml.NVMLError_Unknown).lacks
    assert "cannot be read" in lack.what
    assert "nvidia-smi" in lack.mend


def test_the_real_library_is_asked_without_a_card_as_with_one():
    found = find_cards({"CUDA_VISIBLE_DEVICES": ""})
    assert found.sensors == ()


def test_cards_are_waited_for_only_if_torch_has_used_one(monkeypatch):
    waits = []
    cuda = SimpleNamespace(is_initialized=lambda: bool(waits), synchronize=lambda: waits.append("wait"))
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    nvml.synchronise()
    assert waits == []
    waits.append("used")
    nvml.synchronise()
    assert waits == ["used", "wait"]


def test_energy_does_not_load_torch():
    code = "import sys, dsnn_hpo.energy as e; e.survey(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
