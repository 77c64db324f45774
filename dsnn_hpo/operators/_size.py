"""A network's convolutions, and the bytes of its packed parameters."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLayer

FLOAT_BITS = 32


def n_convolutions(model: nn.Module) -> int:
    """Returns the number of 2-D convolutions, float or shift; a module that occurs twice counts once."""
    return sum(type(module) in (nn.Conv2d, ShiftConv2d) for module in model.modules())


def packed_size_bytes(model: nn.Module) -> int:
    """Returns the bytes of all parameters and floating-point buffers, each tensor rounded up to whole bytes.

    A shift weight takes its family's ``code_bits`` an element, whatever it is made of while training; its bias takes the
    bits of an activation, at most 32; everything else, such as the statistics of batch normalisation, is float32. Integer buffers
    (``num_batches_tracked``) count nothing; a tensor that occurs twice counts once.
    """
    bits: dict[Tensor, int] = {}
    for module in model.modules():
        bits |= {tensor: n for tensor, n in stored_bits(module).items() if n != FLOAT_BITS or tensor not in bits}
    return sum(n_bytes(tensor, n) for tensor, n in bits.items())


def stored_bits(module: nn.Module) -> Mapping[Tensor, int]:
    """Returns the bits an element that the module's own parameters and floating-point buffers take when packed."""
    own = [*module.parameters(recurse=False), *(b for b in module.buffers(recurse=False) if b.is_floating_point())]
    bits = dict.fromkeys(own, FLOAT_BITS)
    if isinstance(module, ShiftLayer):
        code, *rest = module.held.values()
        bits |= {code: module.scheme.code_bits, **dict.fromkeys(rest, 0)}
        if module.bias is not None:
            bits[module.bias] = module.config.bias_bits
    return bits


def n_bytes(tensor: Tensor, bits: int) -> int:
    """Returns the bytes of a tensor of so many bits an element, rounded up."""
    return (tensor.numel() * bits + 7) // 8
