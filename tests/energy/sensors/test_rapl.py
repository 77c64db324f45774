"""The processor's counters, on a tree that behaves as Linux's does."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.energy.sensors import find_rapl, rapl
from dsnn_hpo.errors import SensorError
from tests.energy.powercap import Powercap


@pytest.fixture
def tree(tmp_path):
    return Powercap(tmp_path)


def sensors_of(tree):
    found = find_rapl(tree.root)
    assert found.lacks == ()
    return found.sensors


def test_packages_and_their_memory_are_found_each_once(tree):
    cpu, ram = sensors_of(tree)
    assert str(cpu.facts) == "cpu: rapl (package-0, package-1; the whole machine's, measured)"
    assert str(ram.facts) == "ram: rapl (dram of package-0, dram of package-1; the whole machine's, measured)"


def test_all_sockets_are_added_and_neither_their_cores_nor_psys_nor_mmio(tree):
    cpu, ram = sensors_of(tree)
    cpu.start()
    ram.start()
    for zone, joules in (
        ("intel-rapl:0", 2.0),
        ("intel-rapl:1", 3.0),
        ("intel-rapl:0:0", 10.0),
        ("intel-rapl:0:1", 0.5),
        ("intel-rapl:1:1", 0.25),
        ("intel-rapl:2", 20.0),
        ("intel-rapl-mmio:0", 2.0),
    ):
        tree.add(zone, joules)
    assert cpu.joules() == pytest.approx(5.0)
    assert ram.joules() == pytest.approx(0.75)


def test_readings_begin_anew(tree):
    cpu, _ = sensors_of(tree)
    for joules in (4.0, 1.0):
        cpu.start()
        tree.add("intel-rapl:0", joules)
        assert cpu.joules() == pytest.approx(joules)
        tree.add("intel-rapl:0", 7.0)


@settings(max_examples=30, deadline=None)
@given(
    start=st.integers(0, 999_999_999), joules=st.lists(st.floats(0.001, 40.0, allow_nan=False), min_size=1, max_size=6)
)
def test_a_counter_that_wraps_loses_nothing(start, joules):
    with tempfile.TemporaryDirectory() as folder:
        tree = Powercap(Path(folder), n_packages=1, dram=False, range_uj=1_000_000_000)
        tree.set("intel-rapl:0", max(start, 1))
        [cpu] = find_rapl(tree.root).sensors
        total = 0.0
        for step in joules:
            cpu.start()
            tree.add("intel-rapl:0", step)
            assert cpu.joules() == pytest.approx(round(step, 6), abs=2e-6)
            total += step


def test_a_counter_that_wraps_several_times_in_a_window_is_followed(tmp_path):
    tree = Powercap(tmp_path, n_packages=1, dram=False, range_uj=40_000_000)
    [cpu] = find_rapl(tree.root).sensors
    cpu.start()
    with tree.running("intel-rapl:0", watts=100.0) as spent:
        time.sleep(1.2)
    measured_j = cpu.joules()
    # More than two ranges, which would be lost but for the thread that reads meanwhile.
    assert spent[0] > 2 * 40
    assert measured_j == pytest.approx(spent[0], rel=1e-6)


def test_a_counter_that_is_set_back_is_no_wrap(tree):
    cpu, _ = sensors_of(tree)
    tree.set("intel-rapl:1", 500_000_000)
    cpu.start()
    tree.set("intel-rapl:1", 3_000_000)
    with pytest.raises(SensorError, match=r"package-1 went back without wrapping: from 500\.000 J to 3\.000 J"):
        cpu.joules()


def test_a_counter_that_leaps_forward_is_refused(tree):
    cpu, _ = sensors_of(tree)
    cpu.start()
    tree.add("intel-rapl:0", 5000.0)
    with pytest.raises(SensorError, match=r"package-0 jumped: from 1\.000 J to 5001\.000 J"):
        cpu.joules()


def test_a_jump_in_mid_window_is_not_forgotten(tmp_path):
    tree = Powercap(tmp_path, n_packages=1, dram=False, range_uj=40_000_000)
    [cpu] = find_rapl(tree.root).sensors
    cpu.start()
    # A counter of so small a range is read a hundred times a second; the jump is over when the window ends.
    tree.set("intel-rapl:0", 200_000_000_000)
    time.sleep(0.2)
    tree.set("intel-rapl:0", 1_000_001)
    with pytest.raises(SensorError, match="jumped"):
        cpu.joules()


def test_a_counter_that_vanishes_in_mid_window_is_an_error_and_may_come_back(tree):
    cpu, _ = sensors_of(tree)
    cpu.start()
    shutil.move(tree.root / "intel-rapl:1", tree.root / "gone")
    with pytest.raises(SensorError, match=r"cannot be read: No such file or directory \(.*intel-rapl:1/energy_uj\)"):
        cpu.joules()
    shutil.move(tree.root / "gone", tree.root / "intel-rapl:1")
    cpu.start()
    tree.add("intel-rapl:1", 1.0)
    assert cpu.joules() == pytest.approx(1.0)


def test_a_counter_that_stands_still_is_refused(tree, monkeypatch):
    cpu, _ = sensors_of(tree)
    monkeypatch.setattr(rapl, "STANDSTILL_S", 0.05)
    cpu.start()
    tree.add("intel-rapl:1", 1.0)
    time.sleep(0.1)
    with pytest.raises(SensorError, match=r"package-0 stood still at 1\.000 J"):
        cpu.joules()


def test_a_counter_that_has_never_counted_is_lacking(tree):
    tree.set("intel-rapl:0", 0)
    found = find_rapl(tree.root)
    assert found.sensors == ()
    assert "stood still at 0.000 J" in found.lacks[0].what


@pytest.mark.parametrize("content", ["", "many\n"])
def test_what_is_no_number_is_lacking(tree, content):
    (tree.root / "intel-rapl:0" / "energy_uj").write_text(content)
    [lack] = find_rapl(tree.root).lacks
    assert "which is no number" in lack.what


def test_no_tree_is_lacking_with_the_line_that_may_mend_it(tmp_path):
    found = find_rapl(tmp_path / "powercap")
    assert found.sensors == ()
    assert [lack.part for lack in found.lacks] == ["cpu", "ram"]
    assert "modprobe intel_rapl_msr" in found.lacks[0].mend


def test_psys_alone_is_not_taken_for_the_processor(tree):
    for i in range(2):
        shutil.rmtree(tree.root / f"intel-rapl:{i}")
    found = find_rapl(tree.root)
    assert found.sensors == ()
    assert "psys" in found.lacks[0].what


def test_without_counters_of_memory_the_processor_is_still_read(tmp_path):
    found = find_rapl(Powercap(tmp_path, dram=False).root)
    assert [sensor.facts.part for sensor in found.sensors] == ["cpu"]
    assert [lack.part for lack in found.lacks] == ["ram"]


def test_memory_of_one_socket_of_two_is_no_memory(tree):
    shutil.rmtree(tree.root / "intel-rapl:1" / "intel-rapl:1:1")
    assert [sensor.facts.part for sensor in find_rapl(tree.root).sensors] == ["cpu"]


@contextlib.contextmanager
def as_nobody():
    """Runs as a user whom files deny what they deny others; root may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)


@pytest.fixture
def open_tree():
    # Folders of pytest's own are closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Powercap(Path(folder))


def test_counters_that_need_root_are_lacking_with_the_line_that_opens_them(open_tree):
    (open_tree.root / "intel-rapl:1" / "energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
    with as_nobody():
        found = find_rapl(open_tree.root)
    assert found.sensors == ()
    [lack] = found.lacks
    assert "may be read by root only" in lack.what
    assert f"sudo chmod a+r {open_tree.root}/intel-rapl:*/energy_uj" in lack.mend
    # The line does what it says, memory's counters included.
    command = lack.mend.partition("   #")[0].removeprefix("sudo ")
    assert os.system(command) == 0
    with as_nobody():
        assert len(find_rapl(open_tree.root).sensors) == 2


def test_only_memory_that_needs_root_leaves_the_processor(open_tree):
    (open_tree.root / "intel-rapl:0" / "intel-rapl:0:1" / "energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
    with as_nobody():
        found = find_rapl(open_tree.root)
    assert [sensor.facts.part for sensor in found.sensors] == ["cpu"]
    assert "chmod" in found.lacks[0].mend


def test_counters_closed_in_mid_window_are_an_error(open_tree):
    cpu, _ = find_rapl(open_tree.root).sensors
    cpu.start()
    (open_tree.root / "intel-rapl:0" / "energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)
    with as_nobody(), pytest.raises(SensorError, match="root only"):
        cpu.joules()
