"""What must hold of a plan before a kernel may run it: kernels trust it, and read and write where it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from dsnn_hpo.errors import ModelFolderError
from dsnn_hpo.kernels._arena import arena_of
from dsnn_hpo.kernels.packed_weight import QUAD, Layout, PackedWeight
from dsnn_hpo.kernels.plan import (
    Clamp,
    Convolve,
    Copy,
    Dequantise,
    MaxPool,
    MeanPool,
    Plan,
    Pointwise,
    Quantise,
    ShiftChannels,
    Slice,
    Step,
)
from dsnn_hpo.kernels.plan_weight import DenseWeight, WinogradWeight

MAX_ARENA_BYTES = 2**28
"""Of the activations of one image, padding included."""
MAX_MACS = 10**12
"""Of one image: some hundred times those of the largest networks that ship."""
MAX_DENSE_COLUMNS = 2**16
MAX_DENSE_VALUE = 127


def check_plan(plan: Plan) -> None:
    """Returns nothing; raises ModelFolderError, naming the field, unless the plan is one that kernels can run.

    Every slice lies in its activation; every channel is written once, before it is read; a step reads activations as a
    whole, and none that it writes; shapes agree from step to step; windows lie inside; sums fit their accumulators.
    """
    checked = _Checked(plan)
    for index, step in enumerate(plan.steps):
        checked.step(index, step)
    checked.end()


class _Checked:
    """A plan, and how much of it holds so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._written: list[set[Slice]] = [set() for _ in plan.activations]
        self._n_macs = 0
        self._place = ""

    def _require(self, holds: bool, field: str, message: str) -> None:
        if not holds:
            raise ModelFolderError(f"model.json: {self._place}.{field}: {message}")

    def step(self, index: int, step: Step) -> None:
        """Checks a step, with what the steps before it have written."""
        self._place = f"plan.steps.{index}"
        self._require((index == 0) == isinstance(step, Quantise), "kind", "the first step, and no other, quantises")
        is_output = isinstance(step, Dequantise) or (isinstance(step, Convolve) and step.target is None)
        is_last = index == len(self._plan.steps) - 1
        self._require(is_output == is_last, "target", "the last step, and no other, writes the output")
        if not isinstance(step, Quantise):
            self._reads(step.source, "source")
        if isinstance(step, Convolve | Pointwise) and step.residual is not None:
            self._reads(step.residual.source, "residual.source")
        target = getattr(step, "target", None)
        if target is not None:
            self._inside(target, "target")
            sources = [getattr(step, "source", None), getattr(getattr(step, "residual", None), "source", None)]
            self._require(
                all(part is None or part.activation != target.activation for part in sources),
                "target",
                "a step cannot write the activation that it reads",
            )
        self._of_kind(step)
        if target is not None:
            self._writes(target)

    def end(self) -> None:
        """Checks what only the whole plan shows."""
        self._place = "plan"
        for index in range(len(self._plan.activations)):
            self._require(bool(self._written[index]), f"activations.{index}", "no step writes it")
        n_bytes = arena_of(self._plan).n_bytes
        self._require(
            n_bytes <= MAX_ARENA_BYTES, "activations", f"they take {n_bytes} bytes, at most {MAX_ARENA_BYTES}"
        )

    def _of_kind(self, step: Step) -> None:
        checks: dict[type, Callable[..., None]] = {
            Quantise: self._quantise,
            Convolve: self._convolve,
            Pointwise: self._pointwise,
            MaxPool: self._pool,
            MeanPool: self._pool,
            Copy: self._copy,
            ShiftChannels: self._shift_channels,
            Dequantise: self._dequantise,
        }
        checks[type(step)](step)

    def _inside(self, part: Slice, field: str) -> None:
        n = len(self._plan.activations)
        self._require(part.activation < n, f"{field}.activation", f"there are {n} activations")
        channels = self._plan.activations[part.activation].channels
        end = part.first_channel + part.n_channels
        self._require(
            end <= channels, f"{field}.n_channels", f"channel {end - 1} of an activation of {channels} channels"
        )

    def _reads(self, part: Slice, field: str) -> None:
        self._inside(part, field)
        channels = self._plan.activations[part.activation].channels
        self._require(part.n_channels == channels, f"{field}.n_channels", f"expected all {channels} channels")
        n_written = sum(written.n_channels for written in self._written[part.activation])
        self._require(n_written == channels, f"{field}.activation", "not all of it is written yet")

    def _writes(self, part: Slice) -> None:
        written = sorted([*self._written[part.activation], part], key=lambda p: p.first_channel)
        apart = all(a.first_channel + a.n_channels <= b.first_channel for a, b in pairwise(written))
        self._require(apart, "target", "some of its channels are written already")
        self._written[part.activation].add(part)

    def _shape(self, part: Slice) -> tuple[int, int, int]:
        activation = self._plan.activations[part.activation]
        return part.n_channels, activation.height, activation.width

    def _clamp(self, clamp: Clamp, target: Slice) -> None:
        zero = self._plan.zero(target)
        self._require(
            -zero <= clamp.lowest <= clamp.highest <= 255 - zero,
            "clamp",
            f"expected {-zero} <= lowest <= highest <= {255 - zero}, not {clamp.lowest} and {clamp.highest}",
        )

    def _same_zero(self, step: MaxPool | Copy | ShiftChannels) -> None:
        same = self._plan.zero(step.source) == self._plan.zero(step.target)
        self._require(same, "target", "its zero point is not that of the source, whose integers it takes")

    def _quantise(self, step: Quantise) -> None:
        shape, wanted = self._shape(step.target), self._plan.input_shape
        flat = (math.prod(wanted), 1, 1)
        whole = step.target.n_channels == self._plan.activations[step.target.activation].channels
        self._require(whole and shape in (wanted, flat), "target", f"is {shape}, the input is {wanted}")
        self._clamp(step.clamp, step.target)

    def _residual(self, step: Convolve | Pointwise, shape: tuple[int, int, int]) -> None:
        if step.residual is not None:
            found = self._shape(step.residual.source)
            self._require(found == shape, "residual.source", f"is {found}, expected {shape}")

    def _pointwise(self, step: Pointwise) -> None:
        source, target = self._shape(step.source), self._shape(step.target)
        self._require(source == target, "target", f"is {target}, the source is {source}")
        self._residual(step, target)
        self._clamp(step.clamp, step.target)

    def _convolve(self, step: Convolve) -> None:
        self._weight(step)
        source = self._shape(step.source)
        n_rows, n_in, kernel_h, kernel_w = step.weight.shape
        groups = step.weight.groups
        self._require(
            n_in * groups == source[0], "weight", f"takes {n_in * groups} channels, the source has {source[0]}"
        )
        top, left, bottom, right = step.padding
        (stride_h, stride_w), (dilation_h, dilation_w) = step.stride, step.dilation
        height = (source[1] + top + bottom - dilation_h * (kernel_h - 1) - 1) // stride_h + 1
        width = (source[2] + left + right - dilation_w * (kernel_w - 1) - 1) // stride_w + 1
        shape = (n_rows, height, width)
        if step.target is None:
            wanted = (self._plan.n_outputs, 1, 1)
            self._require(shape == wanted, "weight", f"gives {shape}, the output is {wanted}")
            self._require(step.residual is None, "residual", "the output takes none")
        else:
            found = self._shape(step.target)
            self._require(shape == found and height > 0 and width > 0, "target", f"is {found}, the sums are {shape}")
            self._residual(step, found)
            self._clamp(step.clamp, step.target)
        self._n_macs += self._plan.n_macs(step)
        self._require(self._n_macs <= MAX_MACS, "weight", f"so far {self._n_macs} terms to sum, at most {MAX_MACS}")

    def _weight(self, step: Convolve) -> None:
        weight = step.weight
        n_rows, n_in = weight.shape[:2]
        self._require(n_rows % weight.groups == 0, "weight.groups", f"{weight.groups} do not divide {n_rows} rows")
        is_depthwise = Layout(weight.shape, weight.groups).is_depthwise and not isinstance(weight, WinogradWeight)
        whole = weight.groups == 1 or is_depthwise or n_in % QUAD == 0
        self._require(whole, "weight.groups", f"groups of {n_in} channels, expected a multiple of {QUAD}")
        if isinstance(weight, WinogradWeight):
            plain = step.stride == step.dilation == (1, 1)
            self._require(plain, "stride", "a Winograd adder has stride and dilation 1")
        elif isinstance(weight, DenseWeight):
            n_columns = math.prod(weight.shape[1:])
            fits = n_columns <= MAX_DENSE_COLUMNS and int(weight.values.min()) >= -MAX_DENSE_VALUE
            self._require(fits, "weight.values", f"at most {MAX_DENSE_COLUMNS} columns of -127 to 127 can be summed")
        elif isinstance(weight, PackedWeight):
            self._require(len(weight.shape) == 4, "weight.shape", "expected four dimensions")

    def _pool(self, step: MaxPool | MeanPool) -> None:
        source, target = self._shape(step.source), self._shape(step.target)
        wanted = (source[0], len(step.rows), len(step.columns))
        self._require(target == wanted, "target", f"is {target}, expected {wanted}")
        for field, spans, size in (("rows", step.rows, source[1]), ("columns", step.columns, source[2])):
            inside = all(first < end <= size for first, end in spans)
            self._require(inside, field, f"a window is empty or reaches beyond {size} pixels")
        if isinstance(step, MaxPool):
            self._same_zero(step)
        else:
            self._clamp(step.clamp, step.target)

    def _copy(self, step: Copy) -> None:
        source, target = self._shape(step.source), self._shape(step.target)
        strides = (1, *step.stride)
        begun = zip(step.source_first, step.size, strides, source, strict=True)
        reads_inside = all(first + (n - 1) * stride < length for first, n, stride, length in begun)
        self._require(reads_inside, "source_first", f"the window reaches beyond the source's {source}")
        placed = zip(step.target_first, step.size, target, strict=True)
        self._require(
            all(first + n <= length for first, n, length in placed),
            "target_first",
            f"the window reaches beyond the target's {target}",
        )
        self._same_zero(step)

    def _shift_channels(self, step: ShiftChannels) -> None:
        source, target = self._shape(step.source), self._shape(step.target)
        self._require(source == target, "target", f"is {target}, the source is {source}")
        n = sum(n_channels for n_channels, _, _ in step.moves)
        self._require(n == source[0], "moves", f"they move {n} channels of {source[0]}")
        self._same_zero(step)

    def _dequantise(self, step: Dequantise) -> None:
        n = math.prod(self._shape(step.source))
        self._require(n == self._plan.n_outputs, "source", f"has {n} values, the output {self._plan.n_outputs}")
