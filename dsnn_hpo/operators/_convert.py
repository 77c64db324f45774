"""Turning layers of a float network into multiplication-free layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeGuard

from torch import nn

from dsnn_hpo.errors import one_of
from dsnn_hpo.operators._layer import Operator

Chooser = Callable[[nn.Module, str], Operator | None]
"""Given a layer and its qualified name, returns the operator that it becomes, or None to leave it alone."""


def convert_(model: nn.Module, choose: Chooser | Mapping[str, Operator | None], *, from_trained: bool) -> nn.Module:
    """Returns ``model`` with convolutions and linear layers replaced, in place, by multiplication-free layers.

    All ``nn.Conv2d`` and ``nn.Linear`` are asked about; a chosen ``model`` itself is replaced in the return value only.
    Subclasses of the two are left alone, since their arithmetic may differ, and so is a layer that its operator is not
    defined for. A module that occurs twice is replaced by one module twice. Training mode, device, dtype and
    ``requires_grad`` are kept, and all other modules, batch normalisation among them, are untouched and never frozen. A
    float layer's weight that two different modules share stays shared where the operator keeps it as its parameter, as
    DeepShift-Q does.

    Args:
        model: any module.
        choose: a function of layer and qualified name, such as ``only``, ``matching`` and ``by_stage`` make; or a
            mapping of qualified names, from which a layer that is not named is left alone.
        from_trained: whether the weights are trained, so that the layers start from them, by each operator's own rule,
            and not from scratch.

    Raises:
        ValueError: a mapping names what is no such layer of the model, or one module by two names in two ways.
        TypeError: what was chosen for a layer is not an operator.
    """
    if isinstance(choose, Mapping):
        choose = _by_name(model, choose)
    # Chosen before anything is replaced, so that a function that looks at the model sees it whole.
    chosen = [(name, module, choose(module, name)) for name, module in convertible(model).items()]
    replacements: dict[nn.Module, nn.Module] = {
        module: _replacement(name, module, operator, from_trained=from_trained)
        for name, module, operator in chosen
        if operator is not None
    }
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in replacements:
                setattr(parent, name, replacements[child])
    return replacements.get(model, model)


def convertible(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Returns, by qualified name and in order of definition, the layers that ``convert_`` asks about."""
    return {name: module for name, module in model.named_modules() if is_convertible(module)}


def is_convertible(module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Returns whether a module is one that ``convert_`` asks about."""
    return type(module) in (nn.Linear, nn.Conv2d)


def _replacement(name: str, module: nn.Linear | nn.Conv2d, operator: Operator, *, from_trained: bool) -> nn.Module:
    if not isinstance(operator, Operator):
        raise TypeError(f"layer {name!r}: expected an operator such as ShiftConfig() or None, not {operator!r}")
    return operator.layer(module, from_trained=from_trained).train(module.training)


def _by_name(model: nn.Module, operators: Mapping[str, Operator | None]) -> Chooser:
    # A module that occurs twice has two names, and may be named by either.
    modules = {name: m for name, m in model.named_modules(remove_duplicate=False) if is_convertible(m)}
    chosen: dict[nn.Module, tuple[str, Operator | None]] = {}
    for name, operator in operators.items():
        if name not in modules:
            raise ValueError(f"the model has no convolution or linear layer {one_of(name, modules)}")
        first, already = chosen.setdefault(modules[name], (name, operator))
        if already != operator:
            raise ValueError(f"{first!r} and {name!r} are one module, which cannot become two: {already}, {operator}")
    return lambda module, _name: chosen.get(module, ("", None))[1]
