"""The steps of a plan as constant structures and calls of C."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dsnn_hpo.deploy.c._memory import memory_of
from dsnn_hpo.deploy.c._tables import EncodedWeight, encoded, float_bits, table
from dsnn_hpo.errors import FreezeError
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
    Residual,
    ShiftChannels,
    Slice,
    Step,
)
from dsnn_hpo.kernels.plan_weight import AdderWeight, WinogradWeight
from dsnn_hpo.kernels.winograd import TILE

MAX_FLOAT = 2.0**127
_BYTES = {"uint8_t": 1, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}


@dataclass(slots=True)
class Written:
    """What has been written of a plan so far.

    Attributes:
        tables: definitions of constants.
        calls: of the steps, in their order.
        needs: the functions that they call, by their files.
        table_bytes: of all constants.
        multiplied: the layers whose inner loops multiply.
        max_taps: pixels that an output sees, at most.
        max_channels: of an input of a convolution, at most.
        has_tiles: whether a Winograd adder is among the layers.
    """

    tables: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    needs: set[str] = field(default_factory=set)
    table_bytes: int = 0
    multiplied: list[str] = field(default_factory=list)
    max_taps: int = 0
    max_channels: int = 0
    has_tiles: bool = False


class StepWriter:
    """Writes the steps of a plan."""

    def __init__(self, plan: Plan, levels: Tensor) -> None:
        self._plan = plan
        self._levels = levels
        self._memory = memory_of(plan)
        self.arena_bytes = self._memory.n_bytes
        self.written = Written()

    def write(self) -> Written:
        """Returns the tables and calls of all steps; raises FreezeError naming a step that C cannot express."""
        for index, step in enumerate(self._plan.steps):
            label = "".join(c if c.isalnum() or c in "._-" else " " for c in step.name)
            self.written.calls.append(f"    /* {index}: {label} */")
            self._step(f"step{index}", step)
        return self.written

    def _step(self, key: str, step: Step) -> None:
        if isinstance(step, Quantise):
            self._quantise(step)
        elif isinstance(step, Convolve):
            self._convolve(key, step)
        elif isinstance(step, Pointwise):
            self._rescale(key, step)
        elif isinstance(step, MaxPool | MeanPool):
            self._pool(key, step)
        elif isinstance(step, Copy):
            self._copy(key, step)
        elif isinstance(step, ShiftChannels):
            self._shift_channels(key, step)
        else:
            self._dequantise(step)

    def _call(self, function: str, *arguments: object) -> None:
        self.written.needs.add(function)
        self.written.calls.append(f"    {function}({', '.join(map(str, arguments))});")

    def _table(self, name: str, c_type: str, values: list[str]) -> str:
        self.written.tables.append(table(name, c_type, values))
        self.written.table_bytes += len(values) * _BYTES[c_type]
        return name

    def _floats(self, name: str, values: Tensor) -> str:
        return self._table(name, "uint32_t", float_bits(values))

    def _structure(self, kind: str, key: str, **fields: object) -> str:
        """Returns the address of a constant structure; it counts as four bytes a field."""
        text = ", ".join(f".{name} = {value}" for name, value in fields.items())
        self.written.tables.append(f"static const struct {kind} {key} = {{{_wrapped(text)}}};")
        self.written.table_bytes += 4 * len(fields)
        return f"&{key}"

    def _at(self, part: Slice) -> str:
        return f"arena + {self._memory.offsets[part.activation] + part.first_channel}"

    def _whole(self, part: Slice) -> int:
        return self._plan.activations[part.activation].channels

    def _size(self, part: Slice) -> tuple[int, int]:
        activation = self._plan.activations[part.activation]
        return activation.height, activation.width

    def _quantise(self, step: Quantise) -> None:
        rows = [", ".join(map(str, row)) for row in self._levels.tolist()]
        lines = "\n".join(_wrapped(f"{{{row}}},") for row in rows)
        self.written.tables.append(f"static const uint8_t input_levels[{len(rows)}][256] = {{{lines}}};")
        self.written.table_bytes += self._levels.numel()
        channels, height, width = self._plan.input_shape
        is_flat = int(self._size(step.target) == (1, 1))
        self._call("quantise", "pixels", self._at(step.target), channels, height * width, is_flat)

    def _result(self, target: Slice, clamp: Clamp) -> dict[str, object]:
        return {
            "out_pixel": self._whole(target),
            "out_zero": self._plan.zero(target),
            "low": clamp.lowest,
            "high": clamp.highest,
        }

    def _residual(self, residual: Residual | None) -> tuple[str, dict[str, object]]:
        """Returns the address of what is added to a result, and the fields that say how."""
        if residual is None:
            return "NULL", {"residual_scale": 0, "residual_zero": 0}
        (scale,) = float_bits(residual.scale)
        zero = self._plan.zero(residual.source)
        return self._at(residual.source), {"residual_scale": scale, "residual_zero": zero}

    def _convolve(self, key: str, step: Convolve) -> None:
        try:
            made = encoded(step.weight, self._plan.zero(step.source))
        except ValueError as error:
            raise FreezeError(f"layer {step.name!r} cannot be written in C: {error}") from error
        self._check_range(step.name, _largest_sums(step), step.scale, step.bias, step.residual)
        self._note(made, step)
        out: dict[str, object] = {"out_pixel": 0, "out_zero": 0, "low": 0, "high": 0}
        out_size = (1, 1)
        if step.target is not None:
            out, out_size = self._result(step.target, step.clamp), self._size(step.target)
        residual, residual_fields = self._residual(step.residual)
        correction = "NULL"
        if made.correction is not None and bool(made.correction.any()):
            correction = self._table(f"{key}_correction", "int32_t", [str(c) for c in made.correction.tolist()])
        address = self._structure(
            "convolution",
            key,
            weights=self._table(f"{key}_weights", "uint8_t", [str(value) for value in made.table.tolist()]),
            correction=correction,
            scale=self._floats(f"{key}_scale", step.scale),
            bias=self._floats(f"{key}_bias", step.bias),
            **self._geometry(step, made),
            **{"out_height": out_size[0], "out_width": out_size[1], **out},
            **{"bits": made.bits, "has_zero": int(made.has_zero), **residual_fields},
            signs=self._signs(key, made),
        )
        target, logits = ("NULL", "logits") if step.target is None else (self._at(step.target), "NULL")
        results = (self._at(step.source), residual, target, logits)
        if made.kind == "winograd":
            self._call("convolve_winograd", address, *results)
        else:
            self._call("convolve", address, f"sum_{made.kind}", *results)

    def _geometry(self, step: Convolve, made: EncodedWeight) -> dict[str, int]:
        height, width = self._size(step.source)
        n_rows, n_channels, kernel_h, kernel_w = step.weight.shape
        # A tile's pixels are found as those of a kernel of its size.
        kernel_h, kernel_w = (TILE, TILE) if made.kind == "winograd" else (kernel_h, kernel_w)
        (stride_y, stride_x), (dilation_y, dilation_x) = step.stride, step.dilation
        groups = step.weight.groups
        return {
            **{"in_height": height, "in_width": width, "in_channels": self._whole(step.source)},
            **{"zero": self._plan.zero(step.source), "kernel_height": kernel_h, "kernel_width": kernel_w},
            **{"stride_y": stride_y, "stride_x": stride_x, "dilation_y": dilation_y, "dilation_x": dilation_x},
            **{"top": step.padding[0], "left": step.padding[1]},
            **{"groups": groups, "rows": n_rows // groups, "channels": n_channels},
        }

    def _signs(self, key: str, made: EncodedWeight) -> str:
        if made.signs is None:
            return "NULL"
        return self._table(f"{key}_signs", "uint8_t", [str(sign) for sign in made.signs.flatten().tolist()])

    def _note(self, made: EncodedWeight, step: Convolve) -> None:
        written = self.written
        written.needs |= {"rounded", "convolution", f"sum_{made.kind}"}
        written.needs |= {"signed32"} if made.kind in ("shift32", "two_term") else set()
        written.multiplied += [step.name] if made.kind == "int8" else []
        is_tile = made.kind == "winograd"
        written.has_tiles |= is_tile
        n_taps = TILE * TILE if is_tile else step.weight.shape[2] * step.weight.shape[3]
        written.max_taps = max(written.max_taps, n_taps)
        written.max_channels = max(written.max_channels, self._whole(step.source))

    def _check_range(
        self, name: str, largest: Tensor | int, scale: Tensor, bias: Tensor, residual: Residual | None
    ) -> None:
        """Raises FreezeError where a result could be infinite: the integers of the file know no infinity."""
        reach = (scale.double() * largest).abs() + bias.double().abs() + (255 * abs(residual.scale) if residual else 0)
        if not bool((reach < MAX_FLOAT).all()):
            raise FreezeError(f"step {name!r} cannot be written in C: its results may reach {float(reach.max()):g}")

    def _rescale(self, key: str, step: Pointwise) -> None:
        self._check_range(step.name, 255, step.scale, step.bias, step.residual)
        self.written.needs.add("rounded")
        residual, residual_fields = self._residual(step.residual)
        height, width = self._size(step.source)
        address = self._structure(
            "rescaling",
            key,
            scale=self._floats(f"{key}_scale", step.scale),
            bias=self._floats(f"{key}_bias", step.bias),
            **{"area": height * width, "channels": step.source.n_channels, "zero": self._plan.zero(step.source)},
            **self._result(step.target, step.clamp),
            **residual_fields,
        )
        self._call("rescale", address, self._at(step.source), residual, self._at(step.target))

    def _pool(self, key: str, step: MaxPool | MeanPool) -> None:
        self.written.needs.add("pool")
        shape = {"in_width": self._size(step.source)[1], "channels": step.source.n_channels}
        means: dict[str, object] = {"scale": "NULL", "offset": 0, "zero": 0}
        result: dict[str, object] = {"out_pixel": self._whole(step.target), "out_zero": 0, "low": 0, "high": 0}
        if isinstance(step, MeanPool):
            self._check_range(step.name, 2**31, step.scale, torch.tensor(step.offset), None)
            self.written.needs.add("rounded")
            (offset,) = float_bits(step.offset)
            zero = self._plan.zero(step.source)
            means = {"scale": self._floats(f"{key}_scale", step.scale), "offset": offset, "zero": zero}
            result = self._result(step.target, step.clamp)
        address = self._structure(
            "pooling",
            key,
            rows=self._table(f"{key}_rows", "uint16_t", [str(i) for i in itertools.chain(*step.rows)]),
            columns=self._table(f"{key}_columns", "uint16_t", [str(i) for i in itertools.chain(*step.columns)]),
            **{"out_height": len(step.rows), "out_width": len(step.columns), **shape, **means, **result},
        )
        function = "mean_pool" if isinstance(step, MeanPool) else "max_pool"
        self._call(function, address, self._at(step.source), self._at(step.target))

    def _copy(self, key: str, step: Copy) -> None:
        height, width = self._size(step.target)
        corners: dict[str, int] = {}
        for name, corner in (("from", step.source_first), ("to", step.target_first)):
            corners |= dict(zip((f"{name}_channel", f"{name}_row", f"{name}_column"), corner, strict=True))
        n_channels, n_rows, n_columns = step.size
        address = self._structure(
            "window",
            key,
            **{"in_width": self._size(step.source)[1], "in_channels": self._whole(step.source)},
            **{"out_height": height, "out_width": width, "out_pixel": self._whole(step.target)},
            **{"channels": step.target.n_channels, "zero": self._plan.zero(step.target), **corners},
            **{"n_channels": n_channels, "n_rows": n_rows, "n_columns": n_columns},
            **{"stride_y": step.stride[0], "stride_x": step.stride[1]},
        )
        self._call("copy", address, self._at(step.source), self._at(step.target))

    def _shift_channels(self, key: str, step: ShiftChannels) -> None:
        height, width = self._size(step.source)
        address = self._structure(
            "movement",
            key,
            moves=self._table(f"{key}_moves", "int32_t", [str(i) for i in itertools.chain(*step.moves)]),
            **{"n_moves": len(step.moves), "height": height, "width": width, "channels": self._whole(step.source)},
            **{"out_pixel": self._whole(step.target), "zero": self._plan.zero(step.target)},
        )
        self._call("shift_channels", address, self._at(step.source), self._at(step.target))

    def _dequantise(self, step: Dequantise) -> None:
        self._check_range(step.name, 255, torch.tensor(step.scale), torch.tensor(0.0), None)
        height, width = self._size(step.source)
        (scale,) = float_bits(step.scale)
        zero, n_channels = self._plan.zero(step.source), step.source.n_channels
        self._call("dequantise", self._at(step.source), height * width, n_channels, zero, scale, "logits")


def _largest_sums(step: Convolve) -> Tensor | int:
    """Returns a bound of each row's sums, float64."""
    if isinstance(step.weight, AdderWeight | WinogradWeight):
        return 2**32
    return step.weight.integers().abs().double().flatten(1).sum(1) * 255


def _wrapped(text: str) -> str:
    words, lines, line = text.split(" "), [], ""
    for word in words:
        if len(line) + len(word) > 110:
            lines.append(line)
            line = ""
        line += f" {word}" if line else word
    return "\n    ".join([*lines, line])
