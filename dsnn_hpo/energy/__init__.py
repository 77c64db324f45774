"""Energy measurement: sensors and models behind one meter, repeated measurement, every figure with its provenance."""

from dsnn_hpo.energy._alone import measuring_alone
from dsnn_hpo.energy._config import EnergyConfig
from dsnn_hpo.energy._interval import mean_and_ci95
from dsnn_hpo.energy._measuring import (
    Measured,
    MeasuringPlan,
    Window,
    final_plan,
    idle_power_w,
    measure,
    search_plan,
)
from dsnn_hpo.energy._meter import Energy, Meter
from dsnn_hpo.energy._sensor_meter import make_meter
from dsnn_hpo.energy._survey import EnergySurvey, survey
from dsnn_hpo.energy.codecarbon import CodeCarbonMeter, check_country, hardware_name, rated_w_per_core

__all__ = [
    "CodeCarbonMeter",
    "Energy",
    "EnergyConfig",
    "EnergySurvey",
    "Measured",
    "MeasuringPlan",
    "Meter",
    "Window",
    "check_country",
    "final_plan",
    "hardware_name",
    "idle_power_w",
    "make_meter",
    "mean_and_ci95",
    "measure",
    "measuring_alone",
    "rated_w_per_core",
    "search_plan",
    "survey",
]
