from __future__ import annotations

from dsnn_hpo import energy
from dsnn_hpo.energy import CodeCarbonMeter, Energy, EnergyConfig, Meter


def test_public_names_are_listed():
    public = {name for name, value in vars(energy).items() if getattr(value, "__module__", "").startswith("dsnn_hpo.")}
    assert public == set(energy.__all__)


def test_the_meter_follows_the_protocol():
    meter: Meter = CodeCarbonMeter(EnergyConfig())
    meter.begin()
    assert isinstance(meter.end(), Energy)
