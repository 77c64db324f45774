"""A convolution as 1x1, depthwise and 1x1 convolutions (Li et al., "Unifying Tensor View", arXiv 2312.09922).

The filters of a convolution are a tensor; written as a sum of R products of vectors (the CP form) of output channel m, place
(i, j) and input channel c::

    w[m, c, i, j] = sum_r b[m, r] d[r, i, j] a[r, c]

the convolution is three in a row, with nothing between them: 1x1 from the c channels to R, depthwise on R, 1x1 from R to
the m channels. Gradients are those of the three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from dsnn_hpo.operators._geometry import drawn_convolution
from dsnn_hpo.operators._layer import Operator, OperatorLayer
from dsnn_hpo.operators._spatial_shift import replaced


@dataclass(frozen=True, slots=True)
class PointwiseDepthwise:
    """The operator that replaces a convolution by 1x1, depthwise and 1x1 convolutions.

    ``rank`` is R, None for as many as output channels. ``inner`` is the operator of the three convolutions, None for float
    ones, as published. Raises ValueError for a rank below 1.
    """

    rank: int | None = None
    inner: Operator | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and (not isinstance(self.rank, int) or self.rank < 1):
            raise ValueError(f"rank must be None or a whole number of at least 1, not {self.rank!r}")

    def layer(self, module: nn.Linear | nn.Conv2d, *, from_trained: bool) -> nn.Module:
        """Returns the three convolutions that take the place of one, or the module itself where there are none.

        There are for convolutions without groups whose kernel is larger than 1x1.
        """
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.kernel_size != (1, 1):
            return PointwiseDepthwisePointwise(module, self, from_trained=from_trained)
        return module


class PointwiseDepthwisePointwise(OperatorLayer):
    """``expand`` (1x1), ``depthwise`` (the float kernel and its geometry), ``reduce`` (1x1, with the float bias).

    ``from_trained`` they are R matrices of rank 1 that are nearest to the trained filters, each of one output channel: by the
    singular values of the filters as matrices of c by place, the largest of each first if R allows, then the largest of all.
    What a rank leaves over, beyond all singular values, starts without effect.
    """

    def __init__(self, convolution: nn.Conv2d, config: PointwiseDepthwise, *, from_trained: bool = False) -> None:
        """Makes the layer; raises ValueError for a convolution with groups."""
        if convolution.groups != 1:
            raise ValueError(f"a convolution with groups has no pointwise-depthwise form: {convolution}")
        super().__init__()
        self.config = config
        self.in_channels = convolution.in_channels
        self.out_channels = convolution.out_channels
        self.rank = config.rank or convolution.out_channels
        moves: dict[str, Any] = {
            name: getattr(convolution, name) for name in ("stride", "padding", "dilation", "padding_mode")
        }
        kernel_size = cast("tuple[int, int]", convolution.kernel_size)
        expand = drawn_convolution(convolution, (self.in_channels, self.rank), 1)
        depthwise = drawn_convolution(convolution, (self.rank, self.rank), kernel_size, groups=self.rank, **moves)
        reduce = drawn_convolution(convolution, (self.rank, self.out_channels), 1)
        reduce.bias = convolution.bias
        if from_trained:
            _decompose_(convolution.weight, expand, depthwise, reduce)
        self.expand, self.depthwise, self.reduce = (
            replaced(layer, config.inner, from_trained=from_trained) for layer in (expand, depthwise, reduce)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output, shape (n, out_channels, h', w') for x of shape (n, in_channels, h, w)."""
        return cast("Tensor", self.reduce(self.depthwise(self.expand(x))))


@torch.no_grad()
def _decompose_(weight: Tensor, expand: nn.Conv2d, depthwise: nn.Conv2d, reduce: nn.Conv2d) -> None:
    """Returns nothing; gives the three layers weights whose product is close to ``weight``, (m, c, kh, kw)."""
    rank = expand.out_channels
    left, sizes, right = torch.linalg.svd(weight.flatten(2).float(), full_matrices=False)
    n_rows, n_each = sizes.shape
    priority = sizes.clone()
    if rank >= n_rows:
        priority[:, 0] = torch.inf
    n_used = min(rank, n_rows * n_each)
    chosen = priority.flatten().topk(n_used).indices.sort().values
    row, part = chosen // n_each, chosen % n_each
    # Each factor takes its share of the size, so that none starts out much smaller than the others.
    share = sizes[row, part].pow(1 / 3)
    # Of a product of three signs, two are free: the kernels are made positive in sum.
    sign = torch.where(right[row, part].sum(1) < 0, -1.0, 1.0)
    expand.weight[:n_used] = ((sign * share)[:, None] * left[row, :, part])[:, :, None, None].to(weight.dtype)
    kernels = (sign * share)[:, None] * right[row, part]
    depthwise.weight[:n_used] = kernels.view(n_used, 1, *weight.shape[2:]).to(weight.dtype)
    reduce.weight.zero_()
    reduce.weight[row, torch.arange(n_used, device=row.device), 0, 0] = share.to(weight.dtype)
