"""Counting a network's convolutions and the bytes of its packed parameters."""

from __future__ import annotations

from torch import Tensor, nn

from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLayer

_FLOAT_BITS = 32


def n_convolutions(model: nn.Module) -> int:
    """Returns the number of 2-D convolutions, float or shift; a module that occurs twice counts once."""
    return sum(type(module) in (nn.Conv2d, ShiftConv2d) for module in model.modules())


def packed_size_bytes(model: nn.Module) -> int:
    """Returns the bytes of all parameters and floating-point buffers, each tensor rounded up to whole bytes.

    A shift weight takes ``weight_bits`` an element (P and S of PS are one code), its bias the bits of an activation,
    at most 32; everything else, such as the statistics of batch normalisation, is float32. Integer buffers
    (``num_batches_tracked``) count nothing; a tensor that occurs twice counts once.
    """
    bits: dict[Tensor, int] = {}
    for module in model.modules():
        if isinstance(module, ShiftLayer):
            code, *rest = module.weight_parameters
            bits |= {code: module.config.weight_bits, **dict.fromkeys(rest, 0)}
            if module.bias is not None:
                bits[module.bias] = module.config.bias_bits
    tensors: list[Tensor] = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
    return sum((tensor.numel() * bits.get(tensor, _FLOAT_BITS) + 7) // 8 for tensor in tensors)
