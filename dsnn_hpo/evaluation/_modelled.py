"""The modelled energy of a network on a target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from dsnn_hpo.data import PreparedData
from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.energy.hardware import EnergyTable, hardware_energy, load_table
from dsnn_hpo.evaluation._network import Task, build_network
from dsnn_hpo.evaluation._settings import settings_of
from dsnn_hpo.operators import count_operations
from dsnn_hpo.trial import Config, Provenance, Trial


def hardware_figure(network: nn.Module, input_shape: Sequence[int], config: EnergyConfig) -> tuple[float, Provenance]:
    """Returns the microjoules of one inference by the configured table, and how they were modelled.

    Raises:
        InputError: there is no such table, or the network holds what cannot be counted.
    """
    table = _table(config.hardware)
    counts = count_operations(network, input_shape, activation_bits=table.activation_bits)
    found = hardware_energy(counts, table, config.memory)
    remarks = (f"{len(found.unverified)} of its costs never verified",) if found.unverified else ()
    how = Provenance(f"counts x table, memory {found.memory}", "modelled", "inference", found.table, remarks=remarks)
    return found.total_uj, how


def modelled_energy_uj(config: Config, task: Task, data: PreparedData) -> float:
    """Returns the modelled microjoules of a configuration's untrained network; raises as ``hardware_figure``."""
    settings = settings_of(Trial(0, config, task.max_epochs, seed=0), task.config, task.max_epochs)
    with torch.random.fork_rng(devices=[]):
        network = build_network(settings, task, data, seed=0)
    return hardware_figure(network, data.input_shape, task.energy)[0]


@lru_cache(maxsize=4)
def _table(name_or_path: str) -> EnergyTable:
    return load_table(name_or_path)
