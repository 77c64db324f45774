"""VGG networks with batch normalisation and one linear layer, their usual CIFAR form (Simonyan, Zisserman 2015)."""

from __future__ import annotations

from torch import nn

from dsnn_hpo.models._blocks import InputShape, conv_norm, initialized, require_at_least, strides_that_fit

_WIDENING = (1, 2, 4, 8, 8)


def vgg11(input_shape: InputShape, n_classes: int, *, width: int = 64) -> nn.Module:
    """Returns VGG11, 8 convolutions; ``width`` is the channels of the first; see ``vgg19``."""
    return _vgg(input_shape, n_classes, width, (1, 1, 2, 2, 2))


def vgg16(input_shape: InputShape, n_classes: int, *, width: int = 64) -> nn.Module:
    """Returns VGG16, 13 convolutions; ``width`` is the channels of the first; see ``vgg19``."""
    return _vgg(input_shape, n_classes, width, (2, 2, 3, 3, 3))


def vgg19(input_shape: InputShape, n_classes: int, *, width: int = 64) -> nn.Module:
    """Returns VGG19, 16 convolutions; ``width`` is the channels of the first.

    A stage ends in pooling while at least 2 pixels remain, and what is left at the end is pooled to one pixel by the
    maximum: at 32x32 that is the fifth pooling.
    """
    return _vgg(input_shape, n_classes, width, (2, 2, 4, 4, 4))


def _vgg(
    input_shape: InputShape, n_classes: int, width: int, n_convolutions: tuple[int, int, int, int, int]
) -> nn.Module:
    require_at_least(1, width=width)
    strides = strides_that_fit(input_shape, [2] * len(n_convolutions))
    layers: list[nn.Module] = []
    n_in = input_shape[0]
    for n, widening, stride in zip(n_convolutions, _WIDENING, strides, strict=True):
        for _ in range(n):
            layers += [*conv_norm(n_in, width * widening, 3), nn.ReLU()]
            n_in = width * widening
        if stride > 1:
            layers.append(nn.MaxPool2d(stride, ceil_mode=True))
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes)]
    return initialized(nn.Sequential(*layers))
