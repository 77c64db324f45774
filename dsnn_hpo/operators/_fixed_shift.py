"""Fixed shifts: powers of two that are drawn once and never trained.

ShiftAddNet's variant of fixed shift layers (You et al., NeurIPS 2020, arXiv 2010.12785): what a network learns lies in
its adder layers and batch normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsnn_hpo.kernels import WeightRounding, exponent_range
from dsnn_hpo.operators._weight_scheme import Held, WeightScheme

SIGN_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class FixedShift(WeightScheme):
    """Weights ``s * 2**p`` with the codes of DeepShift-PS, in a buffer: no parameter, no gradient.

    Drawn as in the released code: p is the nearest whole number to N(p_min / 2, 1), within the range, and s the sign of
    u ~ U(-1, 1), zero where |u| <= 1/2. From a trained weight: the nearest power of two, zero below half the least.
    """

    def initial(self, weight: nn.Parameter, *, from_trained: bool, is_convolution: bool) -> dict[str, Tensor]:  # noqa: ARG002
        """Returns the weight, not a parameter."""
        lowest, highest = exponent_range("PS", self.weight_bits)
        with torch.no_grad():
            if from_trained:
                magnitude = weight.abs()
                power = _nearest_power(magnitude.clamp(2.0**lowest, 2.0**highest))
                is_zero = magnitude < 2.0 ** (lowest - 1)
                return {"weight": torch.where(is_zero, 0.0, power * torch.sign(weight))}
            exponent = torch.empty_like(weight).normal_(lowest / 2, 1.0).round_().clamp_(lowest, highest)
            drawn = torch.empty_like(weight).uniform_(-1.0, 1.0)
            sign = torch.where(drawn.abs() > SIGN_THRESHOLD, torch.sign(drawn), 0.0)
            return {"weight": sign * torch.exp2(exponent)}

    def value(self, held: Held, rounding: WeightRounding) -> Tensor:  # noqa: ARG002 - there is nothing to round
        """Returns the weight."""
        return held["weight"]


def _nearest_power(magnitude: Tensor) -> Tensor:
    """Returns the power of two at the least distance: 2**p up to 1.5 * 2**p, else 2**(p+1)."""
    mantissa, exponent = torch.frexp(magnitude)
    return torch.ldexp(torch.ones_like(magnitude), exponent - 1 + (mantissa > 0.75))
