"""The geometry that convolutional layers take over from the float convolution they are made from."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

_TAKEN = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)
_SHOWN = ("stride", "padding", "dilation", "groups")


def take_geometry_(layer: Any, convolution: nn.Conv2d) -> None:
    """Returns nothing; gives ``layer`` the attributes of a float convolution that say how its filter moves."""
    for name in _TAKEN:
        setattr(layer, name, getattr(convolution, name))
    layer._border = list(convolution._reversed_padding_repeated_twice)


def padded(layer: Any, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Returns the layer's input and the zeros to be added around it, (height, width): what is left of its padding.

    Another mode than "zeros", and "same" where it is one pixel more on one side, are padded here.
    """
    left, right, top, bottom = layer._border
    if layer.padding_mode != "zeros":
        return F.pad(x, layer._border, mode=layer.padding_mode), (0, 0)
    if (left, top) != (right, bottom):
        return F.pad(x, layer._border), (0, 0)
    return x, (top, left)


def geometry_text(layer: Any) -> str:
    """Returns the geometry for ``repr``."""
    return "".join(f", {name}={getattr(layer, name)}" for name in _SHOWN)


def keeps_size(convolution: nn.Conv2d) -> bool:
    """Returns whether a convolution has an odd square kernel and just the zeros around the image that it needs.

    With stride 1 its output is as large as its input, and moved by no pixel.
    """
    kernel_size, dilation = convolution.kernel_size[0], convolution.dilation[0]
    reach = dilation * (kernel_size // 2)
    return (
        kernel_size % 2 == 1
        and convolution.kernel_size == (kernel_size, kernel_size)
        and convolution.dilation == (dilation, dilation)
        and convolution.padding_mode == "zeros"
        and list(convolution._reversed_padding_repeated_twice) == [reach] * 4
    )


def blank_linear(like: nn.Linear, *, n_in: int | None = None) -> nn.Linear:
    """Returns a linear layer whose weight has no values yet, with dtype and device of ``like``'s, without a bias."""
    n_in = like.in_features if n_in is None else n_in
    # On the meta device nothing is drawn.
    layer = nn.Linear(n_in, like.out_features, bias=False, device="meta", dtype=like.weight.dtype)
    return layer.to_empty(device=like.weight.device).requires_grad_(like.weight.requires_grad)


def blank_convolution(
    like: nn.Conv2d, channels: tuple[int, int], kernel_size: int | tuple[int, int], **geometry: Any
) -> nn.Conv2d:
    """Returns a convolution whose weight has no values yet, with dtype and device of ``like``'s, without a bias.

    ``channels`` are those of input and output; ``geometry`` is that of ``torch.nn.Conv2d``.
    """
    layer = nn.Conv2d(*channels, kernel_size, bias=False, device="meta", dtype=like.weight.dtype, **geometry)
    return layer.to_empty(device=like.weight.device).requires_grad_(like.weight.requires_grad)


def drawn_convolution(
    like: nn.Conv2d, channels: tuple[int, int], kernel_size: int | tuple[int, int], **geometry: Any
) -> nn.Conv2d:
    """Returns ``blank_convolution`` with a weight drawn as He et al. 2015 (normal, fan out), as those of our networks."""
    layer = blank_convolution(like, channels, kernel_size, **geometry)
    if not layer.weight.is_meta:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def last_pointwise(like: nn.Conv2d, n_in: int) -> nn.Conv2d:
    """Returns a drawn 1x1 convolution from ``n_in`` channels to those that ``like`` puts out, with its stride and bias."""
    layer = drawn_convolution(like, (n_in, like.out_channels), 1, stride=like.stride)
    layer.bias = like.bias
    return layer
