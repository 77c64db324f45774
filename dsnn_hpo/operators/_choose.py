"""Which operator each layer of a network becomes: choices by filter, name, position and stage, for ``convert_``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from dsnn_hpo.operators._convert import Chooser, convertible
from dsnn_hpo.operators._layer import Operator

LayerFilter = Callable[[nn.Module, str], bool]
"""Given a layer and its qualified name, returns whether it is chosen."""


def only(filter_fn: LayerFilter, operator: Operator) -> Chooser:
    """Returns a choice of ``operator`` for the layers that a filter, such as ``last_convolutions``, chooses."""
    return lambda module, name: operator if filter_fn(module, name) else None


def matching(pattern: str, operator: Operator) -> Chooser:
    """Returns a choice of ``operator`` for the layers whose qualified name has a shell's pattern.

    ``*`` stands for any text, dots included, ``?`` for one character, ``[ab]`` for either: ``"*"`` is every layer,
    ``"1.*.conv2"`` the second convolution of each block of ``resnet20``. Upper and lower case differ.
    """
    return lambda _module, name: operator if fnmatchcase(name, pattern) else None


def by_stage(stages: Mapping[str, int], operators: Mapping[int, Operator | None]) -> Chooser:
    """Returns a choice by a layer's stage; layers without one, and stages without an operator, are left alone.

    Args:
        stages: stages by the qualified names of layers, as the function ``stages`` finds them.
        operators: operators by stage.
    """
    by_name = {name: operators.get(stage) for name, stage in stages.items()}
    return lambda _module, name: by_name.get(name)


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


def keep_first(choose: Chooser, model: nn.Module) -> Chooser:
    """Returns the choice with the model's first layer, in order of definition, left alone: mostly a convolution.

    The policy of most papers on operators that have no scale of their own: the image's few channels cost little.
    """
    return _keep(choose, next(iter(convertible(model).values()), None))


def keep_last(choose: Chooser, model: nn.Module) -> Chooser:
    """Returns the choice with the model's last layer, in order of definition, left alone: mostly the classifier.

    The policy of AdderNet, ShiftAddNet and DenseShift: no batch normalisation scales the logits.
    """
    return _keep(choose, next(reversed(convertible(model).values()), None))


def _keep(choose: Chooser, kept: nn.Module | None) -> Chooser:
    return lambda module, name: None if module is kept else choose(module, name)
