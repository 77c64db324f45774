"""A small plain convolutional network."""

from __future__ import annotations

from torch import nn

from dsnn_hpo.models._blocks import InputShape, conv_norm, initialized, require_at_least, strides_that_fit

_MAX_WIDENING = 8


def cnn(input_shape: InputShape, n_classes: int, *, width: int = 16, depth: int = 3) -> nn.Module:
    """Returns ``depth`` blocks (3x3 convolution, batch normalisation, ReLU, pooling), mean pooling, a linear layer.

    A block halves the sides while at least 2 pixels remain, and the next one then has twice the channels, up to 8
    times ``width``, the channels of the first block.
    """
    require_at_least(1, width=width, depth=depth)
    layers: list[nn.Module] = []
    n_in, n_out = input_shape[0], width
    for stride in strides_that_fit(input_shape, [2] * depth):
        layers += [*conv_norm(n_in, n_out, 3), nn.ReLU()]
        n_in = n_out
        if stride > 1:
            layers.append(nn.MaxPool2d(stride, ceil_mode=True))
            n_out = min(n_out * 2, width * _MAX_WIDENING)
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes)]
    return initialized(nn.Sequential(*layers))
