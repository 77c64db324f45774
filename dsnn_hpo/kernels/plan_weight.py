"""The integer weights of a plan's convolutions, beside the packed one: int8 values, and what adders compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dsnn_hpo.kernels.packed_weight import PackedWeight

MAX_WINOGRAD_CHANNELS = 2**12
MAX_WINOGRAD_VALUE = 2**15 - 1024
"""Up to both, a distance fits 16 bits, and an output, nine sums of distances, an accumulator."""
MAX_ADDER_COLUMNS = 2**16 - 1
MAX_ADDER_VALUE = 2**15 - 256
"""Up to both, a sum of |q - w| over a row, q an 8-bit activation, is below 2**31: what an accumulator holds."""


@dataclass(frozen=True, eq=False)
class DenseWeight:
    """An ordinary int8 weight, of a layer that was not converted to shifts.

    Attributes:
        values: int8, -127 to 127, shape (n, c // groups, kh, kw).
        groups: of the convolution.
    """

    values: Tensor
    groups: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns (n, c // groups, kh, kw)."""
        return tuple(self.values.shape)

    @property
    def bits(self) -> int:
        """Returns 8."""
        return 8

    @property
    def n_bytes(self) -> int:
        """Returns the bytes of the values."""
        return self.values.numel()

    def integers(self) -> Tensor:
        """Returns the values as int64, of ``shape``."""
        return self.values.long()


@dataclass(frozen=True, eq=False)
class AdderWeight:
    """A weight in units of its activation's scale, which is not multiplied with; x stands for ``q - z``.

    Attributes:
        values: int16, magnitudes up to ``MAX_ADDER_VALUE``, shape (n, c // groups, kh, kw).
        groups: of the convolution.
        operation: what is summed: "distance" of an adder (AdderNet, CVPR 2020, eq. 2), ``-|x - w|``; "minimum" of a
            min-convolution (MinConvNets, arXiv 2101.09492), ``|x + w| - |x - w| = 2 sgn(x) sgn(w) min(|x|, |w|)``.
    """

    values: Tensor
    groups: int = 1
    operation: Literal["distance", "minimum"] = "distance"

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError where values are of another dtype, or a sum could leave 32 bits."""
        if self.values.dtype != torch.int16:
            raise TypeError(f"values of an adder's weight must be int16, not {self.values.dtype}")
        n_columns = self.values[0].numel()
        if n_columns > MAX_ADDER_COLUMNS:
            raise ValueError(f"an adder's row has {n_columns} columns, at most {MAX_ADDER_COLUMNS} can be summed")
        largest = int(self.values.int().abs().max())
        if largest > MAX_ADDER_VALUE:
            raise ValueError(f"an adder's weight is {largest} steps of its activation, at most {MAX_ADDER_VALUE}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns (n, c // groups, kh, kw)."""
        return tuple(self.values.shape)

    @property
    def bits(self) -> int:
        """Returns 8: what lies outside of the activations' range counts as a constant of its row."""
        return 8

    @property
    def n_bytes(self) -> int:
        """Returns the bytes of 8-bit values and of a 32-bit constant a row."""
        return self.values.numel() + 4 * len(self.values)


@dataclass(frozen=True, eq=False)
class WinogradWeight:
    """The weight of a Winograd adder (arXiv 2105.05530), in units of its activation's scale; x stands for ``q - z``.

    Of each tile of 4x4 pixels d of the padded input, two pixels from tile to tile, 2x2 outputs are summed::

        A' [-sum_c |W - B' d_c B|] A

    with B' the ``winograd.INPUT_TRANSFORM``; of an odd row or column of outputs the second one is left out.

    Attributes:
        values: int16 W, magnitudes up to ``MAX_WINOGRAD_VALUE``, shape (n, c // groups, 4, 4).
        output_transform: A', two rows of four times -1, 0 or 1; the last one of the first row and the first one of the
            second row are 0, so that an output is the sum of nine pixels' terms only.
        groups: of the convolution.
    """

    values: Tensor
    output_transform: tuple[tuple[int, int, int, int], tuple[int, int, int, int]]
    groups: int = 1

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError where values are of another dtype or shape, or a sum could leave 32 bits."""
        if self.values.dtype != torch.int16:
            raise TypeError(f"values of a Winograd adder's weight must be int16, not {self.values.dtype}")
        if self.values.dim() != 4 or self.values.shape[2:] != (4, 4):
            raise ValueError(f"values of a Winograd adder's weight are (n, c, 4, 4), not {tuple(self.values.shape)}")
        if self.values.shape[1] > MAX_WINOGRAD_CHANNELS:
            raise ValueError(
                f"a Winograd adder takes at most {MAX_WINOGRAD_CHANNELS} channels a group, not {self.values.shape[1]}"
            )
        largest = int(self.values.int().abs().max())
        if largest > MAX_WINOGRAD_VALUE:
            raise ValueError(
                f"a Winograd adder's weight is {largest} steps of its activation, at most {MAX_WINOGRAD_VALUE}"
            )
        first, second = self.output_transform
        if not {*first, *second} <= {-1, 0, 1} or first[3] or second[0]:
            raise ValueError(f"no output transform of F(2x2, 3x3): {self.output_transform}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns (n, c // groups, 3, 3), that of the convolution in whose place it stands."""
        return (*self.values.shape[:2], 3, 3)

    @property
    def bits(self) -> int:
        """Returns 16."""
        return 16

    @property
    def n_bytes(self) -> int:
        """Returns the bytes of the values."""
        return 2 * self.values.numel()


Weight: TypeAlias = PackedWeight | DenseWeight | AdderWeight | WinogradWeight
