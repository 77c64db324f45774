"""The modelled energy of a network on a target."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from torch import nn

from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.energy.hardware import EnergyTable, hardware_energy, load_table
from dsnn_hpo.operators import count_operations
from dsnn_hpo.trial import Provenance


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


@lru_cache(maxsize=4)
def _table(name_or_path: str) -> EnergyTable:
    return load_table(name_or_path)
