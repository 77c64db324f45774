"""GoogLeNet in its usual CIFAR form (Szegedy et al., "Going Deeper with Convolutions", CVPR 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnn_hpo.models._blocks import InputShape, conv_norm, initialized, is_large, strides_that_fit

_STEM_CHANNELS = 192
# One row an inception block: 1x1 | 3x3 reduction, 3x3 | 5x5 reduction, 5x5 | pooling; a row of None halves the sides.
_INCEPTIONS = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    None,
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    None,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


class Inception(nn.Module):
    """Four branches side by side, concatenated; the 5x5 convolution is two of 3x3. Seven convolutions."""

    def __init__(self, n_in: int, channels: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, reduced3, three, reduced5, five, pooled = channels
        self.branch1 = nn.Sequential(*_conv(n_in, one, 1))
        self.branch3 = nn.Sequential(*_conv(n_in, reduced3, 1), *_conv(reduced3, three, 3))
        self.branch5 = nn.Sequential(*_conv(n_in, reduced5, 1), *_conv(reduced5, five, 3), *_conv(five, five, 3))
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *_conv(n_in, pooled, 1))
        self.n_out = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """Returns the branches' outputs, concatenated along the channels."""
        return torch.cat([self.branch1(x), self.branch3(x), self.branch5(x), self.branch_pool(x)], dim=1)


def googlenet(input_shape: InputShape, n_classes: int) -> nn.Module:
    """Returns GoogLeNet with 64 convolutions, no auxiliary classifiers.

    From 96x96 pixels the first convolution has stride 2 and a pooling of stride 2 follows it.
    """
    wanted = (2, 2, 2, 2) if is_large(input_shape) else (1, 1, 2, 2)
    stem_stride, *pool_strides = strides_that_fit(input_shape, wanted)
    layers: list[nn.Module] = [*_conv(input_shape[0], _STEM_CHANNELS, 3, stem_stride)]
    layers += _pooling(pool_strides.pop(0))
    n_in = _STEM_CHANNELS
    for channels in _INCEPTIONS:
        if channels is None:
            layers += _pooling(pool_strides.pop(0))
        else:
            inception = Inception(n_in, channels)
            layers.append(inception)
            n_in = inception.n_out
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes)]
    return initialized(nn.Sequential(*layers))


def _conv(n_in: int, n_out: int, kernel_size: int, stride: int = 1) -> list[nn.Module]:
    return [*conv_norm(n_in, n_out, kernel_size, stride=stride), nn.ReLU()]


def _pooling(stride: int) -> list[nn.Module]:
    return [nn.MaxPool2d(3, stride=stride, padding=1)] if stride > 1 else []
