"""What several network families share: convolution blocks, the rule for small and large inputs, initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

InputShape = tuple[int, int, int]
"""Channels, height and width of one sample."""

SMALLEST_SIDE = 2
LARGE_SIDE = 96


def strides_that_fit(input_shape: InputShape, wanted: Sequence[int]) -> tuple[int, ...]:
    """Returns the wanted strides, in order, each 1 instead where it would leave a side below 2 pixels.

    Each stride s is taken to divide a side by s, rounding up, as 3x3 convolutions with padding 1 do. At 32x32 pixels
    all standard strides fit; an 8x8 input is halved twice.
    """
    side = min(input_shape[1:])
    fitting = []
    for stride in wanted:
        reduced = math.ceil(side / stride)
        fits = reduced >= SMALLEST_SIDE
        side = reduced if fits else side
        fitting.append(stride if fits else 1)
    return tuple(fitting)


def is_large(input_shape: InputShape) -> bool:
    """Returns whether both sides have at least 96 pixels, where networks reduce early, as they do for ImageNet."""
    return min(input_shape[1:]) >= LARGE_SIDE


def conv_norm(
    n_in: int, n_out: int, kernel_size: int, *, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Returns a convolution without bias, padded by half its kernel, and its batch normalisation."""
    padding = kernel_size // 2
    convolution = nn.Conv2d(n_in, n_out, kernel_size, stride=stride, padding=padding, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(n_out)


def initialized(network: nn.Module) -> nn.Module:
    """Returns the network with the weights of its convolutions drawn as He et al. 2015 (normal, fan out)."""
    for module in network.modules():
        # Drawing nothing on the meta device saves the loading of torch's symbolic machinery, most of a second.
        if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def require_at_least(lowest: float, **values: float) -> None:
    """Returns nothing; raises ValueError naming the first value below ``lowest``, or of another kind of number."""
    for name, value in values.items():
        if isinstance(lowest, int) and value != int(value):
            raise ValueError(f"{name} must be a whole number, not {value!r}")
        if not value >= lowest:
            raise ValueError(f"{name} must be at least {lowest}, not {value!r}")
