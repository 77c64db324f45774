"""The linear transforms of Winograd's F(2x2, 3x3) (Lavin and Gray, CVPR 2016), for products and for distances.

2x2 outputs of a 3x3 convolution by a filter g come from a tile d of 4x4 inputs with 16 products instead of 36::

    y = A' [(G g G') * (B' d B)] A
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

TILE = 4
"""The side of a tile of inputs; tiles lie 2 apart, as each gives 2x2 outputs."""

INPUT_TRANSFORM = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
"""B'"""

WEIGHT_TRANSFORM = ((-1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, -1.0))
"""G; the signs of its first and last row differ from the usual ones, as those of ``OUTPUT_TRANSFORM`` do."""

OUTPUT_TRANSFORM = ((-1, 1, 1, 0), (0, 1, -1, 1))
"""A', with two signs in each row that are not the usual ones.

The sums of distances are all negative and about as large. With the usual rows (1, 1, 1, 0) and (0, 1, -1, -1) the
upper left output would add nine of them, and each other one would subtract as many as it adds or more: they would differ
with the pixel's place, which batch normalisation, channel by channel, cannot put right. With two equal signs and another
one in each row, every output adds five sums and subtracts four. The exact products do not notice, as G has the signs too.
"""


def transformed_input(x: Tensor) -> Tensor:
    """Returns B' d B of all tiles d of ``x``, (n, c, h, w) -> (n, 16 * c, (h - 2) // 2, (w - 2) // 2); h and w are even.

    Place (i, j) in the tile is channels ``(4 * i + j) * c`` to ``(4 * i + j + 1) * c``.
    """
    return _TransformedInput.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def transformed_output(sums: Tensor) -> Tensor:
    """Returns A' m A of all tiles m of ``sums``, (n, 16 * c, h, w) -> (n, c, 2 * h, 2 * w): places as above."""
    n, channels, height, width = sums.shape
    memory_format = torch._prims_common.suggest_memory_format(sums)
    places = sums.permute(0, 2, 3, 1).reshape(n, height, width, TILE, TILE, channels // TILE**2)
    rows = [torch.stack(_combined(row, 3), dim=3) for row in _combined(places, 3)]
    # (n, h, row in the tile, w, column in the tile, c)
    y = torch.stack(rows, dim=2).reshape(n, 2 * height, 2 * width, channels // TILE**2)
    return y.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)


class _TransformedInput(Function):
    """The transform with its adjoint by hand: for autograd, each of 20 slices has a gradient as large as x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, n_channels, height, width = ctx.shape = x.shape
        memory_format = torch._prims_common.suggest_memory_format(x)
        shape = (n, TILE**2 * n_channels, height // 2 - 1, width // 2 - 1)
        tiles = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)
        places = torch.split(tiles, n_channels, dim=1)
        for i, row in enumerate(_transformed(x, 2, (None,) * TILE)):
            _transformed(row, 3, places[TILE * i : TILE * (i + 1)])
        return tiles

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        _, n_channels, height, width = ctx.shape
        places = torch.split(grad, n_channels, dim=1)
        rows = [_adjoint(places[first : first + TILE], 3, width) for first in range(0, TILE**2, TILE)]
        return _adjoint(rows, 2, height)


def _transformed(x: Tensor, dim: int, outputs: Sequence[Tensor | None]) -> list[Tensor]:
    """Returns, along one axis, the four rows of B' applied to tiles that lie 2 apart; in ``outputs`` if those are given."""
    even, odd = _phases(x, dim)
    n_tiles = even.shape[dim] - 1
    first, second = even.narrow(dim, 0, n_tiles), odd.narrow(dim, 0, n_tiles)
    third, fourth = even.narrow(dim, 1, n_tiles), odd.narrow(dim, 1, n_tiles)
    return [
        torch.sub(first, third, out=outputs[0]),
        torch.add(second, third, out=outputs[1]),
        torch.sub(third, second, out=outputs[2]),
        torch.sub(second, fourth, out=outputs[3]),
    ]


def _adjoint(rows: Sequence[Tensor], dim: int, length: int) -> Tensor:
    """Returns the gradient of an axis of so many pixels from those of the four rows of B' applied to its tiles."""
    first, second, third, fourth = rows
    n_tiles = first.shape[dim]
    shape = [*first.shape]
    shape[dim] = length
    memory_format = torch._prims_common.suggest_memory_format(first)
    grad = torch.zeros(shape, dtype=first.dtype, device=first.device).contiguous(memory_format=memory_format)
    even, odd = _phases(grad, dim)
    even.narrow(dim, 0, n_tiles).copy_(first)
    odd.narrow(dim, 0, n_tiles).copy_(second).sub_(third).add_(fourth)
    even.narrow(dim, 1, n_tiles).sub_(first).add_(second).add_(third)
    odd.narrow(dim, 1, n_tiles).sub_(fourth)
    return grad


def _phases(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Returns every second pixel along an axis, from the first and from the second one."""
    before = (slice(None),) * dim
    return x[(*before, slice(0, None, 2))], x[(*before, slice(1, None, 2))]


def _combined(places: Tensor, dim: int) -> list[Tensor]:
    """Returns the two rows of A' applied to the four places along an axis."""
    first, second, third, fourth = places.unbind(dim)
    return [second + third - first, second - third + fourth]
