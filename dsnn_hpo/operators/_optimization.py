"""What training does for multiplication-free layers: parameter groups, penalties, the clamp after each step, progress."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dsnn_hpo.operators._layer import OperatorLayer, Penalty


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Returns optimizer groups: each parameter once, with its "weight_decay" and its "lr_scale".

    A layer's own ``undecayed_parameters`` have a weight decay of 0, all others ``weight_decay``, biases and batch
    normalisation too, as published for DeepShift (arXiv 1905.13298). "lr_scale" is the factor of the learning rate that
    the layer asks for, else 1. A group without parameters is left out; parameters keep the model's order.
    """
    undecayed: set[nn.Parameter] = set()
    scales: dict[nn.Parameter, float] = {}
    for layer in _layers(model):
        undecayed.update(layer.undecayed_parameters())
        scales.update(layer.lr_scales())
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(weight_decay, 1.0): []}
    for parameter in model.parameters():
        key = (0.0 if parameter in undecayed else weight_decay, scales.get(parameter, 1.0))
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for (decay, scale), parameters in groups.items()
        if parameters
    ]


def regularization(model: nn.Module, weight_decay: float) -> Tensor:
    """Returns the sum of all layers' penalties, a scalar to be added to the loss; 0 without any.

    Parameters of one penalty are handed to it together, in one call.
    """
    terms: dict[Penalty, list[nn.Parameter]] = {}
    for layer in _layers(model):
        for penalty, parameter in layer.penalties():
            terms.setdefault(penalty, []).append(parameter)
    if not terms:
        first = next(model.parameters(), torch.zeros(()))
        return torch.zeros((), dtype=first.dtype, device=first.device)
    first_term, *others = (penalty(parameters, weight_decay) for penalty, parameters in terms.items())
    return sum(others, first_term)


def clamp_parameters_(model: nn.Module) -> None:
    """Returns nothing; puts parameters back, in place, into the ``limits`` of their layers.

    To be called after each optimizer step.
    """
    limited: dict[tuple[float, float], list[Tensor]] = {}
    for layer in _layers(model):
        for parameter, lowest, highest in layer.limits():
            limited.setdefault((lowest, highest), []).append(parameter)
    with torch.no_grad():
        for (low, high), parameters in limited.items():
            torch._foreach_clamp_min_(parameters, low)
            torch._foreach_clamp_max_(parameters, high)


def set_progress_(model: nn.Module, fraction: float) -> None:
    """Returns nothing; tells all layers which share of the longest training lies behind when the coming epoch ends.

    To be called at the start of each epoch, with a fraction above 0 and at most 1: some operators are annealed.
    """
    for layer in _layers(model):
        layer.set_progress_(fraction)


def _layers(model: nn.Module) -> list[OperatorLayer]:
    return [module for module in model.modules() if isinstance(module, OperatorLayer)]
