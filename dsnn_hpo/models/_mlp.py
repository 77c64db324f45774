"""A multi-layer perceptron."""

from __future__ import annotations

import math

from torch import nn

from dsnn_hpo.models._blocks import InputShape, require_at_least


def mlp(input_shape: InputShape, n_classes: int, *, width: int = 256, depth: int = 2) -> nn.Module:
    """Returns ``depth`` hidden layers of ``width`` units (linear, batch normalisation, ReLU) and a linear layer."""
    require_at_least(1, width=width, depth=depth)
    layers: list[nn.Module] = [nn.Flatten()]
    n_features = math.prod(input_shape)
    for _ in range(depth):
        layers += [nn.Linear(n_features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        n_features = width
    return nn.Sequential(*layers, nn.Linear(n_features, n_classes))
