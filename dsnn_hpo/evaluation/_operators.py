"""Which layer of a network becomes which operator, by a configuration's hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from dsnn_hpo.operators import (
    Chooser,
    LayerFilter,
    Operator,
    ShiftConfig,
    by_stage,
    keep_first,
    keep_last,
    last_convolutions,
    operator,
    stages,
)
from dsnn_hpo.search_space import N_STAGES

Policy = Literal["keep", "convert"]


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What a configuration says of the conversion.

    Attributes:
        shift: the formats of shift layers; where no operator is named, what layers become.
        name: of the operator of the whole network, or None.
        stage_names: names of operators by stage, from 0 on; a stage that is not named stays as it is if another is.
        stage_weight_bits: by stage, where they differ from ``shift``.
        depth: of the convolutions, this many are converted, from the last one on; None means all.
        first_layer: whether the network's first layer is converted.
        last_layer: whether its last layer is.
    """

    shift: ShiftConfig
    name: str | None
    stage_names: Mapping[int, str]
    stage_weight_bits: Mapping[int, int]
    depth: int | None
    first_layer: Policy
    last_layer: Policy

    def chooser(self, network: nn.Module, input_shape: tuple[int, ...]) -> Chooser:
        """Returns the operator of each layer of a network that takes samples of a shape."""
        choose = self._by_stage(network, input_shape)
        if self.depth is not None:
            choose = _where(last_convolutions(network, self.depth), choose)
        if self.first_layer == "keep":
            choose = keep_first(choose, network)
        if self.last_layer == "keep":
            choose = keep_last(choose, network)
        return choose

    def _by_stage(self, network: nn.Module, input_shape: tuple[int, ...]) -> Chooser:
        if not self.stage_names and not self.stage_weight_bits:
            # No stage differs, so that no sample need run through the network to find them.
            everywhere = self._operator(stage=0)
            return lambda _module, _name: everywhere
        found = stages(network, input_shape)
        return by_stage(found, {stage: self._operator(stage) for stage in set(found.values())})

    def _operator(self, stage: int) -> Operator | None:
        # The last stage that has hyperparameters stands for all after it.
        stage = min(stage, N_STAGES - 1)
        bits = self.stage_weight_bits.get(stage, self.shift.weight_bits)
        shift = replace(self.shift, weight_bits=bits)
        name = self.stage_names.get(stage, "conv") if self.stage_names else self.name
        return shift if name is None else operator(name, shift)


def _where(filter_fn: LayerFilter, choose: Chooser) -> Chooser:
    return lambda module, name: choose(module, name) if filter_fn(module, name) else None
