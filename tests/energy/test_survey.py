"""What a machine can measure, told."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

from dsnn_hpo.energy import EnergyConfig, survey
from tests.energy.nvml import Card, library
from tests.energy.powercap import Powercap

MACHINE = EnergyConfig(scope="machine")


@pytest.fixture(autouse=True)
def _no_cards(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", library())


@pytest.mark.parametrize("config", [None, MACHINE])
def test_without_sensors_the_first_line_says_estimated(tmp_path, config):
    found = survey(config, tmp_path)
    first, *others = str(found).splitlines()
    assert first.startswith("Energy is estimated: this machine has no sensor that may be read")
    assert not found.is_measured
    assert any("lacking: cpu: no counters of the processor (RAPL)" in line for line in others)
    assert any(line.strip().startswith("sudo modprobe intel_rapl_msr") for line in others)
    assert sum(line.startswith("  cpu: cpu_load (processor time × rated power;") for line in others) == 1


def test_with_all_sensors_it_says_measured(tmp_path):
    found = survey(MACHINE, Powercap(tmp_path).root)
    assert found.headline == "Energy is measured (cpu, ram)."
    assert found.lacks == ()
    assert "  cpu: rapl (package-0, package-1; the whole machine's, measured)" in str(found).splitlines()


def test_a_share_of_the_counters_is_an_estimate_and_says_what_would_measure(tmp_path):
    found = survey(EnergyConfig(scope="process"), Powercap(tmp_path).root)
    assert found.headline.startswith("Energy is estimated: a process's share of the machine's counters")
    assert "`scope: machine`" in found.headline


def test_a_card_beside_models_is_measured_in_part(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", library(Card("GPU-1")))
    found = survey(MACHINE, tmp_path)
    assert found.headline == "Energy is estimated in part: measured of gpu, a model for cpu, ram."


def test_it_can_be_written_as_json(tmp_path):
    found = survey(MACHINE, Powercap(tmp_path).root)
    data = json.loads(json.dumps(dataclasses.asdict(found)))
    assert data["sensors"][0] == {
        "name": "package-0, package-1",
        "part": "cpu",
        "kind": "rapl",
        "measured": True,
        "scope": "machine",
    }
