"""What range of values each activation takes, from samples, and the 8-bit format that fits it best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from dsnn_hpo.errors import InputError
from dsnn_hpo.executor._graph import Grid, Weighted
from dsnn_hpo.kernels.plan_weight import MAX_WINOGRAD_VALUE

BATCH = 64
N_BINS = 2048
CANDIDATES = tuple(1.0 - 0.05 * i for i in range(13))
"""Shares of the largest magnitude at which values may be cut off; the one with the least mean squared error is taken."""
UNSIGNED_LEVELS, SIGNED_LEVELS, SIGNED_ZERO = 255, 127, 128
MAX_GRID_BITS = 8


@dataclass(slots=True)
class Observed:
    """The values seen at one place: least, greatest and a histogram of ``N_BINS`` bins between them."""

    lowest: float = float("inf")
    highest: float = -float("inf")
    counts: Tensor = field(default_factory=lambda: torch.zeros(N_BINS, dtype=torch.float64, device="cpu"))

    @property
    def centres(self) -> Tensor:
        """Returns the middle of each bin, float64."""
        width = (self.highest - self.lowest) / N_BINS
        return self.lowest + width * (torch.arange(N_BINS, dtype=torch.float64, device="cpu") + 0.5)


@dataclass(frozen=True, slots=True)
class Format:
    """How an activation is written: ``q - zero = clamp(round(x / scale + offset))`` in [lowest, highest]."""

    scale: float
    zero: int
    lowest: int
    highest: int
    offset: float = 0.0


FLOOR_OFFSET = -0.5 + 2.0**-10
"""Turns rounding to the nearest into rounding down, but for values within a 1024th of a step below the next integer.

They, and the integers themselves, which rounding to even would otherwise take down in half of all cases, go up.
"""


def observe(traced: fx.GraphModule, names: Set[str], samples: Tensor) -> dict[str, Observed]:
    """Returns what the traced values ``names`` look like over all samples.

    Raises:
        InputError: a value of the network is NaN or infinite.
    """
    observed = {name: Observed() for name in names}
    for name, value in _values(traced, names, samples):
        if not torch.isfinite(value).all():
            raise InputError(f"the network's value {name!r} is NaN or infinite on the calibration samples")
        least, greatest = torch.aminmax(value)
        seen = observed[name]
        seen.lowest, seen.highest = min(seen.lowest, least.item()), max(seen.highest, greatest.item())
    for name, value in _values(traced, names, samples):
        seen = observed[name]
        if seen.highest > seen.lowest:
            seen.counts += torch.histc(value.float(), N_BINS, seen.lowest, seen.highest).cpu().double()
    return observed


def grid_binds(seen: Observed, grid: Grid, *, is_signed: bool) -> bool:
    """Returns whether a fixed-point format changes the values beyond what 8 bits of their own range would."""
    own = best_format(seen, None, is_signed=is_signed)
    is_cut = seen.highest > grid.highest + grid.step or seen.lowest < grid.lowest - grid.step
    return is_cut or grid.step >= own.scale


def best_format(seen: Observed, grid: Grid | None, compared: Sequence[Weighted] = (), *, is_signed: bool) -> Format:
    """Returns the 8-bit format of least mean squared error for values that go through ``grid`` afterwards.

    A grid of at most 8 bits is taken as it is, and so is any other one whose step is not finer than 8 bits of the
    values' range would be: those values are on the grid exactly. The weights of the layers ``compared``, which take the
    values' step, count with the mean of their squared errors.
    """
    centres = seen.centres if grid is None else seen.centres.clamp(grid.lowest, grid.highest)
    zero = SIGNED_ZERO if is_signed else 0
    n_levels = SIGNED_LEVELS if is_signed else UNSIGNED_LEVELS
    scale = _best_scale(centres, seen.counts, n_levels, compared, is_signed=is_signed)
    if grid is None or (grid.step < scale and grid.highest - grid.lowest >= grid.step * 2**MAX_GRID_BITS):
        return Format(scale, zero, -zero, 255 - zero)
    lowest = max(round(grid.lowest / grid.step), -zero)
    highest = min(round(grid.highest / grid.step), 255 - zero)
    return Format(grid.step, zero, lowest, highest, FLOOR_OFFSET if grid.rounding == "floor" else 0.0)


def _best_scale(
    values: Tensor, counts: Tensor, n_levels: int, compared: Sequence[Weighted] = (), *, is_signed: bool
) -> float:
    least, greatest = values[0].item(), values[-1].item()
    largest = max(-least, greatest) if is_signed else greatest
    if not largest > 0:
        return max(1.0, _least_scale(compared))
    best_scale, best_error = 0.0, float("inf")
    for share in CANDIDATES:
        scale = _single(max(largest * share / n_levels, _least_scale(compared)))
        q = (values / scale).round().clamp(-SIGNED_ZERO if is_signed else 0, n_levels)
        error = ((q * scale - values).square() * counts).sum().item() / max(counts.sum().item(), 1.0)
        error += sum(_mean_error(operation.weight, scale) for operation in compared) / max(len(compared), 1)
        if error < best_error:
            best_scale, best_error = scale, error
    return best_scale


def _mean_error(weight: Tensor, scale: float) -> float:
    return ((weight / scale).round() * scale - weight).square().mean().item()


def _least_scale(compared: Sequence[Weighted]) -> float:
    """Returns the scale below which a weight of the Winograd domain would not fit its 16 bits."""
    largest = (op.weight.abs().max().item() for op in compared if op.kind == "winograd")
    return max(largest, default=0.0) / (MAX_WINOGRAD_VALUE - 1)


def _single(value: float) -> float:
    return max(torch.tensor(value, dtype=torch.float32, device="cpu").item(), 2.0**-100)


def _values(traced: fx.GraphModule, names: Set[str], samples: Tensor) -> Iterator[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []

    def look(name: str, value: Any) -> None:
        if name in names:
            # Copied: an operation in place may change it later.
            found.append((name, value.detach().clone()))

    for first in range(0, len(samples), BATCH):
        found.clear()
        run_traced(traced, samples[first : first + BATCH], look)
        yield from found


def run_traced(traced: fx.GraphModule, batch: Tensor, look: Callable[[str, Any], None]) -> None:
    """Returns nothing; evaluates a traced network and shows each value, with its name, as soon as it is there."""
    with torch.no_grad():
        # Copied: a first layer in place would change the caller's tensor.
        _Interpreter(traced, look).run(batch.clone())


class _Interpreter(fx.Interpreter):
    def __init__(self, traced: fx.GraphModule, look: Callable[[str, Any], None]) -> None:
        super().__init__(traced)
        self._look = look

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        self._look(node.name, value)
        return value
