"""Convolutions as moves of channels and 1x1 convolutions (Wu et al., "Shift", CVPR 2018, arXiv 1711.08141).

A spatial shift moves groups of channels by a pixel each, in all directions of the kernel (eq. 3; ``kernels.spatial_shift``
has the formula), and costs no arithmetic. A 1x1 convolution after it mixes what then lies at the same place::

    y[m, i, j] = b[m] + sum_c w[m, c] x[c, i + dy(c), j + dx(c)]

This is a convolution whose filters have, for each input channel, a weight at one of its places only. Gradients are the
opposite move and those of the 1x1 convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dsnn_hpo.kernels import spatial_shift
from dsnn_hpo.operators._geometry import drawn_convolution, keeps_size, last_pointwise
from dsnn_hpo.operators._layer import Operator, OperatorLayer


@dataclass(frozen=True, slots=True)
class SpatialShift:
    """The operator that replaces a convolution by a spatial shift and a 1x1 convolution.

    ``pointwise`` is the operator of the 1x1 convolution, None for a float one, as published.
    """

    pointwise: Operator | None = None

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:
        """Returns the layer that takes the place of a convolution, or the module itself where there is none.

        There is one for odd square kernels from 3x3, padded by zeros to keep the image's size, without groups, with as
        many input channels as the kernel has places, so that each direction has a channel.
        """
        if isinstance(module, nn.Conv2d) and _is_shiftable(module) and module.in_channels >= _n_places(module):
            return SpatialShiftConv2d(module, self, from_trained=from_trained)
        return module


@dataclass(frozen=True, slots=True)
class ShiftConv:
    """The operator that replaces a convolution by the conv-shift-conv block of ShiftResNet.

    ``expansion`` is the number of channels that are moved, in output channels; with the published 3, the block has at
    most two thirds of the weights of a 3x3 convolution that keeps the number of channels. ``pointwise`` is the operator of
    the two 1x1 convolutions, None for float ones, as published. Raises ValueError for an expansion below 1.
    """

    expansion: int = 3
    pointwise: Operator | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.expansion, int) or self.expansion < 1:
            raise ValueError(f"expansion must be a whole number of at least 1, not {self.expansion!r}")

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:  # noqa: ARG002
        """Returns the block that takes the place of a convolution, or the module itself where there is none.

        There is one for odd square kernels from 3x3, padded by zeros to keep the image's size, without groups, with at
        least as many moved channels as the kernel has places. It is drawn anew, trained or not: the paper has no way from
        a trained convolution to a block with a normalisation and a ReLU in it.
        """
        if isinstance(module, nn.Conv2d) and _is_shiftable(module):
            n_moved = self.expansion * module.out_channels
            return ShiftConvBlock(module, self) if n_moved >= _n_places(module) else module
        return module


class SpatialShift2d(OperatorLayer):
    """Moves groups of channels, see ``kernels.spatial_shift``; no parameters."""

    def __init__(self, kernel_size: int = 3, dilation: int = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """Returns x with its channels moved, shape (n, c, h, w)."""
        return spatial_shift(x, self.kernel_size, self.dilation)

    def extra_repr(self) -> str:
        """Returns the settings for ``repr``."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"


class SpatialShiftConv2d(OperatorLayer):
    """``shift``, then ``pointwise``: a 1x1 convolution with stride and bias of the float convolution.

    ``from_trained`` it has, for each input channel, the trained weights of the place that the channel comes from: those
    filters of its kind that are nearest to the trained ones in the mean square.
    """

    def __init__(self, convolution: nn.Conv2d, config: SpatialShift, *, from_trained: bool = False) -> None:
        """Makes the layer; raises ValueError for a geometry that there is none for."""
        _require_shiftable(convolution)
        super().__init__()
        self.config = config
        self.in_channels = convolution.in_channels
        self.out_channels = convolution.out_channels
        self.shift = SpatialShift2d(convolution.kernel_size[0], convolution.dilation[0])
        pointwise = last_pointwise(convolution, self.in_channels)
        if from_trained:
            with torch.no_grad():
                pointwise.weight.copy_(_weights_of_places(convolution)[:, :, None, None])
        self.pointwise = replaced(pointwise, config.pointwise, from_trained=from_trained)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (n, out_channels, h', w') for x of shape (n, in_channels, h, w)."""
        return cast("Tensor", self.pointwise(self.shift(x)))


class ShiftConvBlock(OperatorLayer):
    """``expand`` (1x1), ``norm``, ReLU, ``shift``, ``reduce`` (1x1, with stride and bias of the float convolution).

    The batch normalisation and ReLU that follow the block are the network's own.
    """

    def __init__(self, convolution: nn.Conv2d, config: ShiftConv) -> None:
        """Makes the block; raises ValueError for a geometry that there is none for."""
        _require_shiftable(convolution)
        super().__init__()
        self.config = config
        self.in_channels = convolution.in_channels
        self.out_channels = convolution.out_channels
        n_moved = config.expansion * self.out_channels
        weight = convolution.weight
        expand = drawn_convolution(convolution, (self.in_channels, n_moved), 1)
        self.expand = replaced(expand, config.pointwise, from_trained=False)
        self.norm = nn.BatchNorm2d(n_moved, device=weight.device, dtype=weight.dtype)
        self.norm.requires_grad_(weight.requires_grad)
        self.shift = SpatialShift2d(convolution.kernel_size[0], convolution.dilation[0])
        reduce = last_pointwise(convolution, n_moved)
        self.reduce = replaced(reduce, config.pointwise, from_trained=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the block's output, shape (n, out_channels, h', w') for x of shape (n, in_channels, h, w)."""
        return cast("Tensor", self.reduce(self.shift(F.relu(self.norm(self.expand(x))))))


def replaced(module: nn.Conv2d, operator: Operator | None, *, from_trained: bool) -> nn.Module:
    """Returns what the operator makes of a convolution, the convolution itself without one."""
    return module if operator is None else operator.layer(module, from_trained=from_trained)


def _is_shiftable(convolution: nn.Conv2d) -> bool:
    return keeps_size(convolution) and convolution.kernel_size[0] > 1 and convolution.groups == 1


def _require_shiftable(convolution: nn.Conv2d) -> None:
    if not _is_shiftable(convolution):
        raise ValueError(
            "a spatial shift needs an odd square kernel from 3x3, padded by zeros to keep the image's size, without groups, "
            f"not {convolution}"
        )


def _n_places(convolution: nn.Conv2d) -> int:
    return convolution.kernel_size[0] ** 2


def _weights_of_places(convolution: nn.Conv2d) -> Tensor:
    """Returns, of the trained filters, the weights at the place that each input channel comes from, (m, c)."""
    n_places = _n_places(convolution)
    channel = torch.arange(convolution.in_channels, device=convolution.weight.device)
    size = convolution.in_channels // n_places
    # What is left over does not move: the middle place.
    place = torch.where(channel < size * n_places, channel // max(size, 1), n_places // 2)
    return convolution.weight.flatten(2)[:, channel, place]
