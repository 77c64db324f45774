"""What tests of convolutional operators share: geometries, and sums over patches, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

Term = Callable[[Tensor, Tensor], Tensor]


@st.composite
def _convolutions(draw: Any) -> nn.Conv2d:
    groups = draw(st.integers(1, 3))
    stride = draw(st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 2), st.integers(1, 3))))
    paddings = [st.integers(0, 2), st.tuples(st.integers(0, 2), st.integers(0, 2)), st.just("valid")]
    if stride in (1, (1, 1)):
        paddings.append(st.just("same"))
    return nn.Conv2d(
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        stride=stride,
        padding=draw(st.one_of(paddings)),
        dilation=draw(st.one_of(st.integers(1, 2), st.tuples(st.integers(1, 2), st.integers(1, 2)))),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        dtype=torch.float64,
    )


@pytest.fixture(scope="session")
def convolutions() -> st.SearchStrategy[nn.Conv2d]:
    """Float convolutions of all geometries, in float64."""
    return _convolutions()


@pytest.fixture(scope="session")
def sum_of_terms() -> Callable[[Tensor, Tensor, nn.Conv2d, Term], Tensor]:
    """Returns a function for ``y[n, m, i, j] = sum term(x, w)`` over the patch of each pixel, with autograd."""

    def sums(x: Tensor, weight: Tensor, like: nn.Conv2d, term: Term) -> Tensor:
        mode = "constant" if like.padding_mode == "zeros" else like.padding_mode
        x = F.pad(x, tuple(like._reversed_padding_repeated_twice), mode=mode)
        (kernel_h, kernel_w), (down, right) = weight.shape[2:], like.dilation
        reach_h, reach_w = down * (kernel_h - 1) + 1, right * (kernel_w - 1) + 1
        rows = range(0, x.shape[2] - reach_h + 1, like.stride[0])
        columns = range(0, x.shape[3] - reach_w + 1, like.stride[1])
        pixels = [x[:, :, i : i + reach_h : down, j : j + reach_w : right] for i in rows for j in columns]
        groups = like.groups
        weights = weight.unflatten(0, (groups, -1))[None]
        # (n, groups, rows of a group, channels of a group, kernel)
        values = [term(p.unflatten(1, (groups, -1))[:, :, None], weights).sum((3, 4, 5)).flatten(1) for p in pixels]
        return torch.stack(values, dim=-1).unflatten(-1, (len(rows), len(columns)))

    return sums
