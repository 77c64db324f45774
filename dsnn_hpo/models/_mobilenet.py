"""MobileNetV2 (Sandler et al., "Inverted Residuals and Linear Bottlenecks", CVPR 2018)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from dsnn_hpo.models._blocks import (
    InputShape,
    conv_norm,
    initialized,
    is_large,
    require_at_least,
    strides_that_fit,
)

_EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
_CHANNELS = (16, 24, 32, 64, 96, 160, 320)
_N_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
_STEM_CHANNELS, _LAST_CHANNELS = 32, 1280
_CIFAR_STRIDES = (1, 1, 1, 2, 2, 1, 2, 1)
_IMAGENET_STRIDES = (2, 1, 2, 2, 2, 1, 2, 1)
_DIVISOR = 8


class InvertedResidual(nn.Module):
    """A 1x1 expansion, a depthwise 3x3 convolution and a linear 1x1 projection; a shortcut where shapes agree."""

    def __init__(self, n_in: int, n_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        n_hidden = n_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*conv_norm(n_in, n_hidden, 1), nn.ReLU6()]
        layers += [*conv_norm(n_hidden, n_hidden, 3, stride=stride, groups=n_hidden), nn.ReLU6()]
        self.residual = nn.Sequential(*layers, *conv_norm(n_hidden, n_out, 1))
        self.has_shortcut = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Returns the block's output; the projection is linear, without an activation after it."""
        residual = cast("Tensor", self.residual(x))
        return x + residual if self.has_shortcut else residual


def mobilenet_v2(input_shape: InputShape, n_classes: int, *, width: float = 1.0) -> nn.Module:
    """Returns MobileNetV2 with 52 convolutions; ``width`` multiplies the channels, kept multiples of 8.

    Below 96x96 pixels in the CIFAR form (the first convolution and the second stage have stride 1), from there in
    the ImageNet form. The last convolution has at least 1280 channels, as published.
    """
    require_at_least(0.05, width=width)
    wanted = _IMAGENET_STRIDES if is_large(input_shape) else _CIFAR_STRIDES
    stem_stride, *stage_strides = strides_that_fit(input_shape, wanted)
    n_in = _scaled(_STEM_CHANNELS, width)
    layers: list[nn.Module] = [*conv_norm(input_shape[0], n_in, 3, stride=stem_stride), nn.ReLU6()]
    for expansion, channels, n_blocks, first_stride in zip(
        _EXPANSIONS, _CHANNELS, _N_BLOCKS, stage_strides, strict=True
    ):
        n_out = _scaled(channels, width)
        for stride in [first_stride] + [1] * (n_blocks - 1):
            layers.append(InvertedResidual(n_in, n_out, stride, expansion))
            n_in = n_out
    n_last = _scaled(_LAST_CHANNELS, max(1.0, width))
    layers += [*conv_norm(n_in, n_last, 1), nn.ReLU6()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_last, n_classes)]
    return initialized(nn.Sequential(*layers))


def _scaled(channels: int, width: float) -> int:
    # The published rounding: to the nearest multiple of 8, but never down by more than a tenth.
    wanted = channels * width
    rounded = max(_DIVISOR, int(wanted + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * wanted else rounded
