"""S3, sign-sparse-shift: powers of two and zero from a sign, a gate and binary factors.

Li et al., "S3: Sign-Sparse-Shift Reparametrization for Effective Training of Low-bit Shift Networks", NeurIPS 2021,
arXiv 2107.03453.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dsnn_hpo.kernels import WeightRounding
from dsnn_hpo.operators._layer import Penalty
from dsnn_hpo.operators._run_length import (
    drawn,
    factor_name,
    factors_of,
    nearest_codes,
    normal_magnitude,
    run_lengths,
    run_lengths_backward,
    sign_of,
)
from dsnn_hpo.operators._weight_scheme import Held, WeightScheme, root_mean_square

DENSITY_PENALTY = 1e-5


@dataclass(frozen=True, slots=True)
class S3(WeightScheme):
    """Weights ``sgn(S) * H(V) * 2**k * scale`` of b bits, k from 0 to n = 2**(b-1) - 2: zero and signed powers of two.

    k is the run length of n binary factors (``_run_length``): at the paper's 3 bits 2**(H(t_2) * (H(t_1) + 1)), the
    weights {0, +-1, +-2, +-4}; at 2 bits ternary. Gradients pass H and sgn straight through and are else those of the
    product: dL/dS = dL/dw * H(V) * 2**k * scale, dL/dV = dL/dw * sgn(S) * 2**k * scale, dL/dk = dL/dw * w * ln 2.

    ``gates_closed`` is added to the loss, the paper's regulariser against sparsity. ``scale`` is DenseShift's.
    """

    @property
    def n_factors(self) -> int:
        """Returns the number of binary factors, the largest exponent."""
        return int(2 ** (self.weight_bits - 1)) - 2

    def initial(self, weight: nn.Parameter, *, from_trained: bool, is_convolution: bool) -> dict[str, Tensor]:  # noqa: ARG002
        """Returns sign, gate, factors and scale; from a trained weight of the nearest codes, zero below half the least."""
        with torch.no_grad():
            if from_trained:
                exponents, scale = nearest_codes(weight, self.n_factors)
                sign = sign_of(weight)
                gate = (
                    torch.where(normal_magnitude(weight) < scale / 2, -1.0, 1.0)
                    * factors_of(torch.ones_like(weight), 1)[0]
                )
                factors = factors_of(exponents, self.n_factors)
            else:
                sign, gate = drawn(weight), drawn(weight)
                factors = [drawn(weight) for _ in range(self.n_factors)]
                codes = torch.exp2(run_lengths(factors, sign)[-1])
                # Half of the gates are open, on average: of few weights there may be none.
                magnitude = root_mean_square(codes) * math.sqrt(0.5)
                scale = torch.exp2(torch.log2(root_mean_square(weight) / magnitude).round())
        trained = {"sign": sign, "gate": gate, **{factor_name(i): factor for i, factor in enumerate(factors)}}
        parameters = {name: nn.Parameter(tensor, weight.requires_grad) for name, tensor in trained.items()}
        return {**parameters, "scale": scale}

    def value(self, held: Held, rounding: WeightRounding) -> Tensor:  # noqa: ARG002 - there is nothing to round
        """Returns the weight with the product's gradients."""
        factors = [held[factor_name(i)] for i in range(self.n_factors)]
        return _S3Weight.apply(held["scale"], held["sign"], held["gate"], *factors)  # type: ignore[no-any-return, no-untyped-call]

    def penalties(self) -> Mapping[str, Penalty]:
        """Returns the regulariser against zeros."""
        return {"gate": gates_closed}


def gates_closed(gates: Sequence[Tensor], weight_decay: float) -> Tensor:  # noqa: ARG001 - a constant of its own
    """Returns ``1e-5 * sum(max(-V, 0))``, a scalar: what keeps weights from being zero (arXiv 2107.03453)."""
    return DENSITY_PENALTY * torch.stack([torch.relu(-gate).sum() for gate in gates]).sum()


class _S3Weight(Function):
    @staticmethod
    def forward(ctx: Any, scale: Tensor, sign: Tensor, gate: Tensor, *factors: Tensor) -> Tensor:
        lengths = run_lengths(factors, sign)
        ctx.save_for_backward(scale, sign, gate, *factors, *lengths)
        magnitude = torch.exp2(lengths[-1]) * scale * (gate > 0)
        return torch.where(sign >= 0, magnitude, -magnitude)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scale, sign, gate, *rest = ctx.saved_tensors
        n_factors = (len(rest) - 1) // 2
        factors, lengths = rest[:n_factors], rest[n_factors:]
        by_magnitude = grad * torch.exp2(lengths[-1]) * scale
        signed = torch.where(sign >= 0, by_magnitude, -by_magnitude)
        is_open = gate > 0
        grad_exponent = signed * is_open * math.log(2.0)
        return None, by_magnitude * is_open, signed, *run_lengths_backward(grad_exponent, lengths, factors)
