"""Residual networks (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016)."""

from __future__ import annotations

import itertools
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from dsnn_hpo.kernels import fuses
from dsnn_hpo.models._blocks import (
    InputShape,
    conv_norm,
    initialized,
    is_large,
    require_at_least,
    strides_that_fit,
)
from dsnn_hpo.operators import ShiftLayer, add_relu_for, relu_then


class SubsampledShortcut(nn.Module):
    """A shortcut without parameters (option A): every ``stride``-th pixel, new channels zero."""

    def __init__(self, n_new_channels: int, stride: int) -> None:
        super().__init__()
        self.n_new_channels = n_new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Returns x subsampled, with half of the new, zero channels before and half after its own."""
        before = self.n_new_channels // 2
        padding = (0, 0, 0, 0, before, self.n_new_channels - before)
        return F.pad(x[:, :, :: self.stride, :: self.stride], padding)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int, *, projects: bool) -> None:
        """Makes the block; ``projects`` chooses a 1x1 convolution (option B) where the shortcut changes shape."""
        super().__init__()
        self.conv1, self.norm1 = conv_norm(n_in, n_out, 3, stride=stride)
        self.conv2, self.norm2 = conv_norm(n_out, n_out, 3)
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out or stride > 1:
            self.shortcut = (
                nn.Sequential(*conv_norm(n_in, n_out, 1, stride=stride))
                if projects
                else SubsampledShortcut(n_out - n_in, stride)
            )

    def forward(self, x: Tensor, rounded: Tensor | None = None) -> Tensor:
        """Returns the block's output, ``relu(f(x) + shortcut(x))``; ``rounded`` is x as conv1 rounds it, if known."""
        return F.relu(self._residual(x, rounded) + cast("Tensor", self.shortcut(x)))

    def forward_for(self, following: ShiftLayer, x: Tensor, rounded: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the block's output and what ``following`` makes of it by rounding."""
        return add_relu_for(following, self._residual(x, rounded), self.shortcut(x))

    def _residual(self, x: Tensor, rounded: Tensor | None) -> Tensor:
        first = self.conv1(x) if rounded is None else self.conv1(rounded, "rounded")
        return cast("Tensor", self.norm2(relu_then(self.conv2, self.norm1(first))))


class ResidualBlocks(nn.Sequential):
    """Residual blocks one after the other.

    In training a block that is followed by one with shift layers rounds its output for it in the same pass over memory
    as its sum and ReLU, where that pays: the values and gradients are those of the blocks one by one, but hooks on
    such a block are not called.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Returns the last block's output."""
        rounded: Tensor | None = None
        blocks = cast("list[ResidualBlock]", list(self))
        for block, following in itertools.zip_longest(blocks, blocks[1:]):
            next_layer = following.conv1 if following is not None else None
            if self.training and isinstance(next_layer, ShiftLayer) and fuses(x):
                x, rounded = block.forward_for(next_layer, x, rounded)
            else:
                x, rounded = block(x, rounded), None
        return x


def resnet20(input_shape: InputShape, n_classes: int, *, width: int = 16, depth: int = 3) -> nn.Module:
    """Returns the CIFAR form: three stages of ``depth`` blocks, ``width``, 2 and 4 times ``width`` channels.

    Option A shortcuts, so ``6 * depth + 1`` convolutions; depth 3 and width 16 are ResNet20. From 96x96 pixels the
    first convolution has stride 2 and a pooling of stride 2 follows it.
    """
    require_at_least(1, width=width, depth=depth)
    wanted = (2, 2, 1, 2, 2) if is_large(input_shape) else (1, 1, 1, 2, 2)
    stem_stride, pool_stride, *stage_strides = strides_that_fit(input_shape, wanted)
    stem: list[nn.Module] = [*conv_norm(input_shape[0], width, 3, stride=stem_stride), nn.ReLU()]
    return _residual_network(stem, pool_stride, _stages(width, depth, stage_strides, projects=False), n_classes)


def resnet18(input_shape: InputShape, n_classes: int, *, width: int = 64, depth: int = 2) -> nn.Module:
    """Returns four stages of ``depth`` blocks with 1, 2, 4 and 8 times ``width`` channels, option B shortcuts.

    Depth 2 is ResNet18, with 20 convolutions. Below 96x96 pixels in the CIFAR form (a first convolution of 3x3 and
    stride 1, no pooling), from there in the ImageNet form (7x7, stride 2, then pooling of stride 2).
    """
    require_at_least(1, width=width, depth=depth)
    large = is_large(input_shape)
    wanted = (2, 2, 1, 2, 2, 2) if large else (1, 1, 1, 2, 2, 2)
    stem_stride, pool_stride, *stage_strides = strides_that_fit(input_shape, wanted)
    kernel_size = 7 if large else 3
    stem: list[nn.Module] = [*conv_norm(input_shape[0], width, kernel_size, stride=stem_stride), nn.ReLU()]
    return _residual_network(stem, pool_stride, _stages(width, depth, stage_strides, projects=True), n_classes)


def _stages(width: int, depth: int, strides: list[int], *, projects: bool) -> list[ResidualBlock]:
    blocks = []
    n_in = width
    for stage, first_stride in enumerate(strides):
        n_out = width * 2**stage
        for stride in [first_stride] + [1] * (depth - 1):
            blocks.append(ResidualBlock(n_in, n_out, stride, projects=projects))
            n_in = n_out
    return blocks


def _residual_network(
    stem: list[nn.Module], pool_stride: int, blocks: list[ResidualBlock], n_classes: int
) -> nn.Module:
    if pool_stride > 1:
        stem.append(nn.MaxPool2d(3, stride=pool_stride, padding=1))
    n_features = blocks[-1].conv2.out_channels
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_features, n_classes)]
    return initialized(nn.Sequential(nn.Sequential(*stem), ResidualBlocks(*blocks), *head))
