"""The modelled energy of a network on a target."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.energy.hardware import EnergyTable, hardware_energy, load_table
from dsnn_hpo.errors import InputError
from dsnn_hpo.evaluation._network import NetworkData, Task, build_network
from dsnn_hpo.evaluation._settings import settings_of
from dsnn_hpo.operators import count_operations, packed_size_bytes
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


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network must know of the data: the shape of a sample (C, H, W), and the number of classes."""

    input_shape: tuple[int, int, int]
    n_classes: int


def counted_figures(config: Config, task: Task, data: NetworkData) -> dict[str, float]:
    """Returns those figures of a configuration that are known without training it, exactly as its results will hold them.

    The size of its network and, unless training decides on it (a table that charges no zeros) or the network cannot be
    counted, its modelled energy.

    Raises:
        DsnnHpoError, RuntimeError, TypeError, ValueError: there is no such network.
    """
    network = _untrained(config, task, data)
    figures = {"model_size_bytes": float(packed_size_bytes(network))}
    if not _table(task.energy.hardware).skips_zeros:
        with contextlib.suppress(InputError):
            figures["hardware_energy_uj"] = hardware_figure(network, data.input_shape, task.energy)[0]
    return figures


def modelled_energy_uj(config: Config, task: Task, data: NetworkData) -> float:
    """Returns the modelled microjoules of a configuration's untrained network; raises as ``hardware_figure``."""
    return hardware_figure(_untrained(config, task, data), data.input_shape, task.energy)[0]


def _untrained(config: Config, task: Task, data: NetworkData) -> nn.Module:
    settings = settings_of(Trial(0, config, task.max_epochs, seed=0), task.config, task.max_epochs)
    with torch.random.fork_rng(devices=[]):
        return build_network(settings, task, data, seed=0)


@lru_cache(maxsize=4)
def _table(name_or_path: str) -> EnergyTable:
    return load_table(name_or_path)
