"""ShiftAddNet's pair of layers (You et al., "ShiftAddNet: A Hardware-Inspired Deep Network", NeurIPS 2020, arXiv 2010.12785).

A layer of shifts, ``s = sum w~ x`` with signed powers of two w~, and straight after it a layer of additions::

    y[m] = b[m] - sum |s - w[m]|

of the same kernel size, as many channels out as in, and stride 1, so that its output is as large as the first one's.
Nothing is between the two; batch normalisation follows the pair. Gradients are those of the two layers. The paper trains
the shifts as DeepShift-PS with 5 bits; its fixed variant freezes them (``shift_type`` "fixed") and trains the additions
alone. Not taken over are the 16-bit rounding of the shift layer's gradient and its threshold for signs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from torch import Tensor, nn

from dsnn_hpo.operators._adder import Adder, AdderConv2d, AdderLinear
from dsnn_hpo.operators._config import ShiftConfig
from dsnn_hpo.operators._geometry import blank_convolution, blank_linear
from dsnn_hpo.operators._layer import OperatorLayer
from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLinear


@dataclass(frozen=True, slots=True)
class ShiftAdd:
    """The settings of a pair: those of its shift layer and those of its adder layer."""

    shift: ShiftConfig = field(default_factory=lambda: ShiftConfig(shift_type="PS"))
    adder: Adder = field(default_factory=Adder)

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:
        """Returns the pair that takes the place of a linear layer or a convolution, of any geometry.

        ``from_trained`` the shift layer starts from the float weight, and so do fixed shifts from scratch: drawn in
        their own way, they would be far smaller than the adder's weights, beside which their sums would not count. The
        adder layer is drawn, as there is no weight that it could start from.
        """
        from_trained = from_trained or self.shift.shift_type == "fixed"
        if isinstance(module, nn.Linear):
            return ShiftAddLinear(module, self, from_trained=from_trained)
        return ShiftAddConv2d(module, self, from_trained=from_trained)


class ShiftAddLinear(OperatorLayer):
    """``shift``, a ``ShiftLinear``, then ``add``, an ``AdderLinear`` of as many outputs, which has the bias."""

    def __init__(self, linear: nn.Linear, config: ShiftAdd, *, from_trained: bool = False) -> None:
        super().__init__()
        without_bias = blank_linear(linear)
        without_bias.weight = linear.weight
        self.config = config
        self.shift = ShiftLinear(without_bias, config.shift, from_trained=from_trained)
        square = blank_linear(linear, n_in=linear.out_features)
        square.bias = linear.bias
        self.add = AdderLinear(square, config.adder)
        self.in_features = linear.in_features
        self.out_features = linear.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (..., out_features) for x of shape (..., in_features)."""
        return cast("Tensor", self.add(self.shift(x)))


class ShiftAddConv2d(OperatorLayer):
    """``shift``, a ``ShiftConv2d`` with the float geometry, then ``add``, an ``AdderConv2d`` that keeps the size.

    ``add`` has the kernel size, the groups and the bias of the float convolution, stride 1 and padding "same".
    """

    def __init__(self, convolution: nn.Conv2d, config: ShiftAdd, *, from_trained: bool = False) -> None:
        super().__init__()
        n_in, n_out = convolution.in_channels, convolution.out_channels
        kernel_size = cast("tuple[int, int]", convolution.kernel_size)
        geometry = {
            name: getattr(convolution, name) for name in ("stride", "padding", "dilation", "groups", "padding_mode")
        }
        without_bias = blank_convolution(convolution, (n_in, n_out), kernel_size, **geometry)
        without_bias.weight = convolution.weight
        self.config = config
        self.shift = ShiftConv2d(without_bias, config.shift, from_trained=from_trained)
        square = blank_convolution(convolution, (n_out, n_out), kernel_size, padding="same", groups=convolution.groups)
        square.bias = convolution.bias
        self.add = AdderConv2d(square, config.adder)
        self.in_channels = n_in
        self.out_channels = n_out

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (n, out_channels, h', w') for x of shape (n, in_channels, h, w)."""
        return cast("Tensor", self.add(self.shift(x)))
