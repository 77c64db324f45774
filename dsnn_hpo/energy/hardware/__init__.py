"""Energy by model: what an inference would cost on a target, from counts and a table of costs; see docs/hardware.md."""

from dsnn_hpo.energy.hardware._energy import HardwareEnergy, LayerEnergy, MemoryModel, hardware_energy
from dsnn_hpo.energy.hardware._load import DEFAULT_TABLE, load_table, table_names
from dsnn_hpo.energy.hardware._row_stationary import DramTraffic, dram_traffic
from dsnn_hpo.energy.hardware._table import Costs, EnergyTable, Figure, FlatMemory, MemoryLevel, RowStationary, Scaling

__all__ = [
    "DEFAULT_TABLE",
    "Costs",
    "DramTraffic",
    "EnergyTable",
    "Figure",
    "FlatMemory",
    "HardwareEnergy",
    "LayerEnergy",
    "MemoryLevel",
    "MemoryModel",
    "RowStationary",
    "Scaling",
    "dram_traffic",
    "hardware_energy",
    "load_table",
    "table_names",
]
