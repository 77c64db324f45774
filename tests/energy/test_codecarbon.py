"""Metering with the real CodeCarbon, offline."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from codecarbon import emissions_tracker
from codecarbon.input import DataSource
from pydantic import ValidationError

from dsnn_hpo.energy import CodeCarbonMeter, EnergyConfig, check_country, codecarbon
from dsnn_hpo.errors import ExperimentError

WINDOW_S = 0.4


@pytest.fixture(autouse=True)
def _fresh_tracker():
    codecarbon._tracker.cache_clear()
    yield
    codecarbon._tracker.cache_clear()


def busy(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def window(meter, act, seconds=WINDOW_S):
    meter.begin()
    act(seconds)
    return meter.end()


def test_a_window_has_energy_emissions_and_its_duration():
    energy = window(CodeCarbonMeter(EnergyConfig()), time.sleep)
    assert energy.value_j > 0
    assert energy.co2_g > 0
    assert WINDOW_S <= energy.seconds < 20 * WINDOW_S


def test_windows_add_up():
    meter = CodeCarbonMeter(EnergyConfig(scope="machine"))
    window(meter, time.sleep, 0.01)
    # Memory is modelled with a constant power, so that the clock alone decides.
    tracker = codecarbon._tracker(EnergyConfig(scope="machine"))
    tracker._hardware = [part for part in tracker._hardware if type(part).__name__ == "RAM"]
    parts = [window(meter, time.sleep, seconds) for seconds in (0.2, 0.3, 0.5)]
    whole = window(meter, time.sleep, 1.0)
    joules, seconds = (sum(getattr(part, name) for part in parts) for name in ("value_j", "seconds"))
    assert joules / seconds == pytest.approx(whole.value_j / whole.seconds, rel=0.05)
    grams = sum(part.co2_g for part in parts)
    assert grams / joules == pytest.approx(whole.co2_g / whole.value_j, rel=1e-6)


def test_what_happens_between_windows_is_not_charged():
    meter = CodeCarbonMeter(EnergyConfig())
    window(meter, time.sleep, 0.01)
    before = window(meter, time.sleep, 0.2)
    busy(0.5)
    time.sleep(0.5)
    after = window(meter, time.sleep, 0.2)
    assert after.value_j / after.seconds < 1.5 * before.value_j / before.seconds


def test_a_busy_window_costs_more_than_a_sleeping_one():
    meter = CodeCarbonMeter(EnergyConfig(scope="process"))
    window(meter, time.sleep, 0.01)
    sleeping, working = window(meter, time.sleep), window(meter, busy)
    assert working.value_j / working.seconds > sleeping.value_j / sleeping.seconds


def test_only_this_process_is_charged_in_process_scope():
    # A neighbour, started by a process that has ended, so that it is no child of ours.
    meter = CodeCarbonMeter(EnergyConfig(scope="process"))
    window(meter, time.sleep, 0.01)
    script = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time\\nwhile time.process_time() < 3: pass'], "
        "start_new_session=True, stdout=subprocess.DEVNULL); print(p.pid)"
    )
    quiet = window(meter, time.sleep)
    neighbour = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
    try:
        beside = window(meter, time.sleep)
        assert _is_alive(neighbour)
    finally:
        os.kill(neighbour, 9)
    assert beside.value_j / beside.seconds < 1.05 * quiet.value_j / quiet.seconds


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("scope", ["process", "machine"])
def test_provenance_says_of_each_part_how_and_of_what(scope):
    how = window(CodeCarbonMeter(EnergyConfig(scope=scope)), time.sleep, 0.01).provenance
    parts = dict(part.split(": ", 1) for part in how.method.split(", "))
    assert {"cpu", "ram"} <= parts.keys()
    assert parts["ram"] == "model"
    assert (how.quality, how.scope) == ("estimated", scope)
    assert "cores" in how.hardware
    if scope == "process":
        assert parts["cpu"] == "cpu_load"


def named(kind, **attributes):
    return type(kind, (SimpleNamespace,), {})(**attributes)


@pytest.mark.parametrize(
    ("hardware", "source"),
    [
        (named("CPU", _mode="intel_rapl"), ("cpu", "intel_rapl", True)),
        (named("CPU", _mode="constant"), ("cpu", "constant", False)),
        (named("GPU"), ("gpu", "nvml", True)),
        (named("RAM"), ("ram", "model", False)),
    ],
)
def test_sources_are_named_truly(hardware, source):
    assert codecarbon._source(hardware) == source


def kg_per_kwh(country):
    """Returns the country's intensity by CodeCarbon's own data, for countries that publish one."""
    mix = DataSource().get_global_energy_mix_data()[country]
    return mix["carbon_intensity"] / 1000


def test_emissions_are_energy_times_the_countrys_intensity():
    intensities = {}
    for country in ("DEU", "FRA", "NOR"):
        energy = window(CodeCarbonMeter(EnergyConfig(country=country)), time.sleep, 0.1)
        intensities[country] = energy.co2_g / energy.value_j * 3.6e6 / 1000
        assert intensities[country] == pytest.approx(kg_per_kwh(country), rel=1e-6)
    assert intensities["DEU"] > 2 * intensities["FRA"]


def test_a_configuration_of_the_users_own_changes_neither_mix_nor_privacy(monkeypatch):
    for name, value in {
        "CODECARBON_REGION": "quebec",
        "CODECARBON_COUNTRY_ISO_CODE": "POL",
        "CODECARBON_FORCE_CARBON_INTENSITY_G_CO2E_KWH": "1",
        "CODECARBON_CLOUD_PROVIDER": "gcp",
        "CODECARBON_CLOUD_REGION": "us-west1",
        "CODECARBON_ELECTRICITYMAPS_API_TOKEN": "token",
        "CODECARBON_SAVE_TO_API": "true",
        "CODECARBON_EMISSIONS_ENDPOINT": "http://localhost:9",
    }.items():
        monkeypatch.setenv(name, value)
    attempts = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: attempts.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: attempts.append(a) or [])
    energy = window(CodeCarbonMeter(EnergyConfig(country="CAN")), time.sleep, 0.05)
    assert energy.co2_g / energy.value_j * 3.6e6 / 1000 == pytest.approx(kg_per_kwh("CAN"), rel=1e-6)
    assert attempts == []


OFFLINE = """
import json, socket, sys
attempts = []
def refuse(*arguments, **keywords):
    attempts.append(repr(arguments))
    raise OSError("no network")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
from dsnn_hpo.energy import CodeCarbonMeter, EnergyConfig, check_country
check_country("DEU")
meter = CodeCarbonMeter(EnergyConfig())
energies = []
for _ in range(3):
    meter.begin()
    energies.append(meter.end().value_j)
print(json.dumps({"attempts": attempts, "energies": energies}))
"""


def test_nothing_is_fetched_written_or_printed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["attempts"] == []
    assert all(energy > 0 for energy in told["energies"])
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_windows_do_not_nest():
    meter = CodeCarbonMeter(EnergyConfig())
    meter.begin()
    with pytest.raises(RuntimeError, match="windows do not nest"):
        meter.begin()
    assert meter.end().value_j > 0
    with pytest.raises(RuntimeError, match="no open window"):
        meter.end()


def test_finished_windows_are_not_kept():
    meter = CodeCarbonMeter(EnergyConfig())
    for _ in range(5):
        window(meter, time.sleep, 0.0)
    assert not codecarbon._tracker(EnergyConfig())._tasks


@pytest.mark.parametrize("name", ["_tasks", "_hardware", "_active_task"])
def test_another_inside_of_codecarbon_is_an_error_that_says_so(monkeypatch, name):
    initialize = emissions_tracker.BaseEmissionsTracker._initialize_emissions_context

    def differently(tracker):
        initialize(tracker)
        delattr(tracker, name)

    monkeypatch.setattr(emissions_tracker.BaseEmissionsTracker, "_initialize_emissions_context", differently)
    with pytest.raises(RuntimeError, match=rf"CodeCarbon \d.* has no {name}: .*constraints\.txt"):
        CodeCarbonMeter(EnergyConfig())


def test_cpu_without_a_mode_is_an_error_that_says_so():
    with pytest.raises(RuntimeError, match=r"CPU of CodeCarbon \d.* has no _mode.*constraints\.txt"):
        codecarbon._source(named("CPU"))


def test_tracker_that_could_not_be_made_is_an_error(monkeypatch):
    # CodeCarbon swallows whatever goes wrong in its constructor.
    def fails(*_, **__):
        raise OSError("no sensors")

    monkeypatch.setattr(emissions_tracker.BaseEmissionsTracker, "_initialize_runtime_state", fails)
    with pytest.raises(RuntimeError, match=r"OfflineEmissionsTracker of CodeCarbon .* could not be set up"):
        CodeCarbonMeter(EnergyConfig())


def test_known_countries_pass():
    for country in ("DEU", "USA", "CAN", "IND"):
        check_country(country)


def test_unknown_country_is_refused_with_those_near_by():
    with pytest.raises(ExperimentError, match=r"'DEX'.*allowed: DEU"):
        check_country("DEX")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("country", "de"),
        ("country", "Germany"),
        ("scope", "room"),
        ("window_s", 1.9),
        ("joules", 1),
        ("final_window_s", 4.9),
        ("final_repeats", 2),
        ("final_ci", 0.0),
        ("final_ci", 5.0),
        ("idle", "drop"),
        ("ram", "all"),
    ],
)
def test_impossible_settings_are_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        EnergyConfig(**{key: value})
