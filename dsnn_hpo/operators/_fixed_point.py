"""Fixed-point activations as a module."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from dsnn_hpo.kernels import FixedPointRounding, fixed_point, relu_fixed_point


class FixedPoint(nn.Module):
    """Rounds to fixed point of ``integer_bits`` (with the sign) and ``fraction_bits``: see ``kernels.fixed_point``.

    ``stochastic`` rounding is used while training only; evaluation always rounds by ``rounding``.
    """

    def __init__(
        self,
        integer_bits: int,
        fraction_bits: int,
        rounding: Literal["floor", "nearest"] = "floor",
        *,
        stochastic: bool = False,
    ) -> None:
        super().__init__()
        self.integer_bits = integer_bits
        self.fraction_bits = fraction_bits
        self.rounding = rounding
        self.stochastic = stochastic

    def forward(self, x: Tensor, *, after_relu: bool = False) -> Tensor:
        """Returns ``x`` (``after_relu``: relu(x)) in fixed point, same shape and dtype, with a straight-through gradient."""
        function = relu_fixed_point if after_relu else fixed_point
        return function(x, *self.format)

    @property
    def format(self) -> tuple[int, int, FixedPointRounding]:
        """Returns the bits and the rounding of this moment, as the functions of ``kernels`` take them."""
        rounding: FixedPointRounding = "stochastic" if self.stochastic and self.training else self.rounding
        return self.integer_bits, self.fraction_bits, rounding

    def extra_repr(self) -> str:
        """Returns the format for ``repr``."""
        suffix = ", stochastic" if self.stochastic else ""
        return f"{self.integer_bits}.{self.fraction_bits}, {self.rounding}{suffix}"
