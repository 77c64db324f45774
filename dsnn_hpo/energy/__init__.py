"""Energy measurement: CodeCarbon behind one door, every figure with its provenance."""

from dsnn_hpo.energy._config import EnergyConfig
from dsnn_hpo.energy._meter import Energy, Meter
from dsnn_hpo.energy.codecarbon import CodeCarbonMeter, check_country, hardware_name

__all__ = ["CodeCarbonMeter", "Energy", "EnergyConfig", "Meter", "check_country", "hardware_name"]
