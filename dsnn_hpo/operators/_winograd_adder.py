"""The 3x3 adder in the Winograd domain (Li et al., "Winograd Algorithm for AdderNet", ICML 2021, arXiv 2105.05530).

Winograd's F(2x2, 3x3) computes 2x2 outputs of a convolution from a tile d of 4x4 inputs with 16 products instead of 36::

    y = A' [(G g G') * (B' d B)] A

A', B' and G are in ``kernels.winograd``. Here a distance takes the place of each product, summed over the channels
c of the input (eq. 7)::

    y = A' [-sum_c |u[c] - B' d[c] B|**p] A

That is no adder layer in other words, since distances do not distribute over sums: it is a layer of its own, with 16
distances for 4 outputs, 2.25 times fewer than an adder layer's, and its weights u are trained in the Winograd domain.
The gradients are those of the 16 distances, by ``kernels.adder_conv2d``, through the two linear transforms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dsnn_hpo.kernels import Geometry, adder_conv2d
from dsnn_hpo.kernels.winograd import TILE, WEIGHT_TRANSFORM, transformed_input, transformed_output
from dsnn_hpo.operators._adder import Adder, AdderLayer, Annealing, gaussian_to_laplacian
from dsnn_hpo.operators._geometry import geometry_text, padded, take_geometry_


@dataclass(frozen=True, slots=True)
class WinogradAdder:
    """How a Winograd adder layer learns: ``eta`` and ``annealing`` as in ``Adder``, which see for their ranges.

    The paper trains with "l2_to_l1".
    """

    eta: float = 0.2
    annealing: Annealing = "none"

    def __post_init__(self) -> None:
        self._adder()

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:
        """Returns a Winograd adder for a 3x3 convolution of stride and dilation 1, an adder layer for all else."""
        if isinstance(module, nn.Conv2d) and is_winograd(module):
            return WinogradAdderConv2d(module, self._adder(), from_trained=from_trained)
        return self._adder().layer(module, from_trained=from_trained)

    def _adder(self) -> Adder:
        return Adder(self.eta, self.annealing)


def is_winograd(convolution: nn.Conv2d) -> bool:
    """Returns whether there is a Winograd adder for the geometry: 3x3, stride 1, dilation 1."""
    return (convolution.kernel_size, convolution.stride, convolution.dilation) == ((3, 3), (1, 1), (1, 1))


class WinogradAdderConv2d(AdderLayer):
    """A 3x3 convolution of stride 1 by distances in the Winograd domain; padding, groups and bias of the float one.

    ``weight`` is u, shape (out_channels, in_channels // groups, 4, 4), drawn like an adder's or, ``from_trained``,
    G g G' of the remapped weight g of the float layer. A last tile that would reach over the image's end is filled up
    with zeros. It decays, and its gradient is scaled, as an adder's.
    """

    groups: int

    def __init__(self, convolution: nn.Conv2d, config: Adder, *, from_trained: bool = False) -> None:
        """Makes the layer; raises ValueError for a convolution that is not 3x3 of stride and dilation 1."""
        if not is_winograd(convolution):
            raise ValueError(f"a Winograd adder needs a 3x3 convolution of stride and dilation 1, not {convolution}")
        super().__init__(convolution, config, _initial_weight(convolution.weight, from_trained=from_trained))
        take_geometry_(self, convolution)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (n, out_channels, h', w') for x of shape (n, in_channels, h, w)."""
        x, (vertical, horizontal) = padded(self, x)
        size = (x.shape[2], x.shape[3])
        height, width = Geometry(padding=(vertical, horizontal)).output_size(size, (3, 3))
        x = F.pad(x, (horizontal, horizontal + width % 2, vertical, vertical + height % 2))
        sums = adder_conv2d(
            transformed_input(x), self._filters(), groups=TILE**2 * self.groups, exponent=self.current_exponent()
        )
        y = transformed_output(sums)[:, :, :height, :width]
        return y if self.bias is None else y + self.bias[:, None, None]

    def _filters(self) -> Tensor:
        """Returns u as 16 * groups blocks of 1x1 filters: those of one place in the tile follow each other."""
        return self.learning_weight().permute(2, 3, 0, 1).reshape(-1, self.weight.shape[1], 1, 1)

    def extra_repr(self) -> str:
        """Returns weight shape, settings and geometry for ``repr``."""
        return super().extra_repr() + geometry_text(self)


def _initial_weight(weight: Tensor, *, from_trained: bool) -> Tensor:
    with torch.no_grad():
        if not from_trained:
            return weight.new_empty((*weight.shape[:2], TILE, TILE)).normal_()
        transform = weight.new_tensor(WEIGHT_TRANSFORM)
        return transform @ gaussian_to_laplacian(weight) @ transform.T
