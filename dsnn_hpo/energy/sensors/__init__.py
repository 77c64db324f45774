"""Sensors of energy: the processor's counters (RAPL) and NVIDIA's cards (NVML), found and named."""

from dsnn_hpo.energy.sensors._family import family
from dsnn_hpo.energy.sensors._sampler import Sampler
from dsnn_hpo.energy.sensors._sensor import Found, Lack, Part, Sensor, SensorFacts
from dsnn_hpo.energy.sensors.nvml import find_cards, synchronise, uses_cuda
from dsnn_hpo.energy.sensors.rapl import POWERCAP, RaplSensor, find_rapl

__all__ = [
    "POWERCAP",
    "Found",
    "Lack",
    "Part",
    "RaplSensor",
    "Sampler",
    "Sensor",
    "SensorFacts",
    "family",
    "find_cards",
    "find_rapl",
    "synchronise",
    "uses_cuda",
]
