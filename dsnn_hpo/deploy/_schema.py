"""The schema of ``model.json``: types and bounds of each field by itself; what fields mean together, ``_check`` sees to."""

from __future__ import annotations

import struct
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_STEPS = 10_000
MAX_CHANNELS = 2**24
MAX_SIDE = 2**13
MAX_REACH = 2**13
"""Of strides, paddings, dilations and moves, in pixels."""
MAX_CLASSES = 100_000
MAX_NAME = 300
MAX_CONFIGURATION = 1_000


def _single(value: float) -> float:
    try:
        same = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        same = None
    if same != value:
        raise ValueError("must be exactly a float32")
    return value


Channels = Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
First = Annotated[int, Field(ge=0, le=MAX_CHANNELS)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Place = Annotated[int, Field(ge=0, le=MAX_SIDE)]
Reach = Annotated[int, Field(ge=1, le=MAX_REACH)]
Padding = Annotated[int, Field(ge=0, le=MAX_REACH)]
Move = Annotated[int, Field(ge=-MAX_REACH, le=MAX_REACH)]
Level = Annotated[int, Field(ge=0, le=255)]
Difference = Annotated[int, Field(ge=-255, le=255)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Single = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_single)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=MAX_NAME)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TensorName = Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,80}$")]
Spans = Annotated[list[tuple[Place, Place]], Field(min_length=1, max_length=MAX_SIDE)]


class _Part(BaseModel):
    # Strict: a number as text, or a boolean for a number, is damage and not a way of writing.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ActivationPart(_Part):
    """An ``Activation``."""

    channels: Channels
    height: Side
    width: Side
    scale: Positive
    zero: Level


class SlicePart(_Part):
    """A ``Slice``."""

    activation: Annotated[int, Field(ge=0, lt=MAX_STEPS)]
    first_channel: First
    n_channels: Channels


class ClampPart(_Part):
    """A ``Clamp``."""

    lowest: Difference
    highest: Difference


class ResidualPart(_Part):
    """A ``Residual``."""

    source: SlicePart
    scale: Single


class PackedPart(_Part):
    """A ``PackedWeight``; tensors by name."""

    kind: Literal["packed"]
    codes: TensorName
    exponents: TensorName
    shape: Annotated[list[Channels], Field(min_length=4, max_length=4)]
    bits: Annotated[int, Field(ge=2, le=6)]
    has_zero: bool
    groups: Channels


class DensePart(_Part):
    """A ``DenseWeight``."""

    kind: Literal["dense"]
    values: TensorName
    groups: Channels


class AdderPart(_Part):
    """An ``AdderWeight``."""

    kind: Literal["adder"]
    values: TensorName
    groups: Channels
    operation: Literal["distance", "minimum"]


class WinogradPart(_Part):
    """A ``WinogradWeight``."""

    kind: Literal["winograd"]
    values: TensorName
    groups: Channels
    output_transform: tuple[tuple[int, int, int, int], tuple[int, int, int, int]]


WeightPart = Annotated[PackedPart | DensePart | AdderPart | WinogradPart, Field(discriminator="kind")]


class QuantisePart(_Part):
    """A ``Quantise``."""

    kind: Literal["quantise"]
    name: Name
    target: SlicePart
    inverse_scale: Single
    offset: Single
    clamp: ClampPart


class ConvolvePart(_Part):
    """A ``Convolve``."""

    kind: Literal["convolve"]
    name: Name
    source: SlicePart
    target: SlicePart | None
    weight: WeightPart
    stride: tuple[Reach, Reach]
    padding: tuple[Padding, Padding, Padding, Padding]
    dilation: tuple[Reach, Reach]
    scale: TensorName
    bias: TensorName
    residual: ResidualPart | None
    clamp: ClampPart


class PointwisePart(_Part):
    """A ``Pointwise``."""

    kind: Literal["pointwise"]
    name: Name
    source: SlicePart
    target: SlicePart
    scale: TensorName
    bias: TensorName
    residual: ResidualPart | None
    clamp: ClampPart


class MaxPoolPart(_Part):
    """A ``MaxPool``."""

    kind: Literal["max_pool"]
    name: Name
    source: SlicePart
    target: SlicePart
    rows: Spans
    columns: Spans


class MeanPoolPart(_Part):
    """A ``MeanPool``."""

    kind: Literal["mean_pool"]
    name: Name
    source: SlicePart
    target: SlicePart
    rows: Spans
    columns: Spans
    scale: TensorName
    offset: Single
    clamp: ClampPart


class CopyPart(_Part):
    """A ``Copy``."""

    kind: Literal["copy"]
    name: Name
    source: SlicePart
    target: SlicePart
    source_first: tuple[First, Place, Place]
    target_first: tuple[First, Place, Place]
    size: tuple[Channels, Side, Side]
    stride: tuple[Reach, Reach]


class ShiftChannelsPart(_Part):
    """A ``ShiftChannels``."""

    kind: Literal["shift_channels"]
    name: Name
    source: SlicePart
    target: SlicePart
    moves: Annotated[list[tuple[Channels, Move, Move]], Field(min_length=1, max_length=MAX_STEPS)]


class DequantisePart(_Part):
    """A ``Dequantise``."""

    kind: Literal["dequantise"]
    name: Name
    source: SlicePart
    scale: Single


StepPart = Annotated[
    QuantisePart
    | ConvolvePart
    | PointwisePart
    | MaxPoolPart
    | MeanPoolPart
    | CopyPart
    | ShiftChannelsPart
    | DequantisePart,
    Field(discriminator="kind"),
]


class PlanPart(_Part):
    """A ``Plan``."""

    input_shape: tuple[Channels, Side, Side]
    n_outputs: Annotated[int, Field(ge=1, le=MAX_CLASSES)]
    activations: Annotated[list[ActivationPart], Field(min_length=1, max_length=MAX_STEPS)]
    steps: Annotated[list[StepPart], Field(min_length=1, max_length=MAX_STEPS)]


class PreprocessingPart(_Part):
    """A ``Preprocessing``; ``channels``, ``height`` and ``width`` are those of the plan's input."""

    mean: Annotated[list[Single], Field(min_length=1, max_length=MAX_NAME)]
    std: Annotated[list[Annotated[Single, Field(gt=0)]], Field(min_length=1, max_length=MAX_NAME)]
    image_size: Side | None


class ModelFile(_Part):
    """All of ``model.json``."""

    format: Literal[1]
    dsnn_hpo_version: Name
    name: Name
    dataset: Name
    classes: Annotated[list[Name], Field(min_length=1, max_length=MAX_CLASSES)]
    preprocessing: PreprocessingPart
    configuration: Annotated[dict[Name, bool | int | Finite | Name], Field(max_length=MAX_CONFIGURATION)]
    plan: PlanPart
    weights_bytes: Annotated[int, Field(ge=1)]
    weights_sha256: Sha256
