"""What an optimizer must know of shift layers: parameter groups, the PS regulariser, the clamp after each step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dsnn_hpo.kernels import exponent_range
from dsnn_hpo.operators._shift import ShiftLayer


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Returns optimizer groups: P and S of PS layers without weight decay, all else with ``weight_decay``.

    P and S are regularised by ``regularization`` instead, as published (arXiv 1905.13298). Biases and batch
    normalisation decay like weights, as published too. A group without parameters is left out.
    """
    coded = {parameter for layer in _ps_layers(model) for parameter in layer.weight_parameters}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p not in coded], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p in coded], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def regularization(model: nn.Module, weight_decay: float) -> Tensor:
    """Returns ``weight_decay / 2 * sum((2**P)**2)`` over the unrounded P of all PS layers, a scalar; 0 without any.

    To be added to the loss: the L2 penalty of the weights' magnitudes (arXiv 1905.13298, released code). It can be
    differentiated once.
    """
    shifts = [layer.shift for layer in _ps_layers(model)]
    if not shifts:
        first = next(model.parameters(), torch.zeros(()))
        return torch.zeros((), dtype=first.dtype, device=first.device)
    return _Penalty.apply(weight_decay, *shifts)  # type: ignore[no-any-return, no-untyped-call]


def clamp_parameters_(model: nn.Module) -> None:
    """Returns nothing; limits, in place, W of Q layers to [-1, 1] and P of PS layers to the range of its codes.

    To be called after each optimizer step. The values of the network do not change, since rounding limits them
    too, but without it a parameter could wander far outside its range and take as long to come back. S is never
    limited, as published. The released code also lifts |W| to the smallest code after each step; here W passes
    through zero freely, because a lifted W of few bits (2 bits: |W| >= 1/2) can hardly ever change its sign.
    """
    limited: dict[tuple[float, float], list[Tensor]] = {}
    for layer in _shift_layers(model):
        lowest, highest = exponent_range(layer.config.shift_type, layer.config.weight_bits)
        if layer.config.shift_type == "PS":
            limited.setdefault((lowest, highest), []).append(layer.shift)
        else:
            limited.setdefault((-(2.0**highest), 2.0**highest), []).append(layer.weight)
    with torch.no_grad():
        for (low, high), parameters in limited.items():
            torch._foreach_clamp_min_(parameters, low)
            torch._foreach_clamp_max_(parameters, high)


class _Penalty(Function):
    """Half the decay times the sum of 4**P, without a graph of its parts and with gradients in the layouts of P.

    That costs a third of the same in autograd: joining tensors that are channels_last copies them out of order, and
    so does adding what comes back to their other gradients.
    """

    @staticmethod
    def forward(ctx: Any, weight_decay: float, *shifts: Tensor) -> Tensor:
        squares = [torch.exp2_(doubled) for doubled in torch._foreach_mul(shifts, 2.0)]
        ctx.save_for_backward(*squares)
        ctx.weight_decay = weight_decay
        return 0.5 * weight_decay * torch.stack([square.sum() for square in squares]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # d(4**P)/dP = 2 ln 2 * 4**P
        gradients = torch._foreach_mul(ctx.saved_tensors, 0.5 * ctx.weight_decay * grad)
        torch._foreach_mul_(gradients, 2.0 * math.log(2.0))
        return None, *gradients


def _shift_layers(model: nn.Module) -> list[ShiftLayer]:
    return [module for module in model.modules() if isinstance(module, ShiftLayer)]


def _ps_layers(model: nn.Module) -> list[ShiftLayer]:
    return [layer for layer in _shift_layers(model) if layer.config.shift_type == "PS"]
