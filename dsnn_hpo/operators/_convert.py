"""Turning layers of a float network into shift layers."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dsnn_hpo.operators._config import ShiftConfig
from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLayer, ShiftLinear

LayerFilter = Callable[[nn.Module, str], bool]


def convert_to_shift_(
    model: nn.Module, config: ShiftConfig, filter_fn: LayerFilter, *, from_trained: bool
) -> nn.Module:
    """Returns ``model`` with the chosen convolutions and linear layers replaced, in place, by shift layers.

    ``filter_fn(module, qualified_name)`` chooses among all ``nn.Conv2d`` and ``nn.Linear``; a chosen ``model`` itself
    is replaced in the return value only. Subclasses of the two are left alone, since their arithmetic may differ.
    A module that occurs twice is replaced by one module twice. Training mode, device, dtype and ``requires_grad`` are
    kept, and all other modules, batch normalisation among them, are untouched. A float layer's weight shared between
    two different modules stays shared with Q and becomes two weights with PS.

    Args:
        model: any module.
        config: the formats of all converted layers.
        filter_fn: for example ``last_convolutions(model, depth)``.
        from_trained: whether the weights are trained and PS starts from them instead of from random codes.
    """
    # Chosen before anything is replaced, so that a filter that looks at the model sees it whole.
    chosen = [m for name, m in model.named_modules() if type(m) in _SHIFT_LAYERS and filter_fn(m, name)]
    replacements = {module: _shift_layer(module, config, from_trained=from_trained) for module in chosen}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in replacements:
                setattr(parent, name, replacements[child])
    return replacements.get(model, model)


def last_convolutions(model: nn.Module, depth: int) -> LayerFilter:
    """Returns a filter that chooses the last ``depth`` convolutions, in order of definition, and every linear layer.

    The published rule of ``shift_depth`` (DeepShift's conversion, as used by Hennig et al., arXiv 2404.01965): 0
    converts linear layers only, a depth beyond the number of convolutions converts all. Raises ValueError if negative.
    """
    if depth < 0:
        raise ValueError(f"depth must not be negative: {depth}")
    convolutions = [m for m in model.modules() if type(m) is nn.Conv2d]
    last = set(convolutions[max(0, len(convolutions) - depth) :])
    return lambda module, _name: isinstance(module, nn.Linear) or module in last


def _shift_layer(module: nn.Module, config: ShiftConfig, *, from_trained: bool) -> ShiftLayer:
    layer = _SHIFT_LAYERS[type(module)](module, config, from_trained=from_trained)
    return layer.train(module.training)


_SHIFT_LAYERS: dict[type[nn.Module], Callable[..., ShiftLayer]] = {
    nn.Conv2d: ShiftConv2d,
    nn.Linear: ShiftLinear,
}
