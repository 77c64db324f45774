"""Where a plan's activations lie in one piece of memory."""

from __future__ import annotations

from dataclasses import dataclass

from dsnn_hpo.kernels.packed_weight import QUAD
from dsnn_hpo.kernels.plan import Convolve, Plan, Quantise, Slice, Step
from dsnn_hpo.kernels.plan_weight import WinogradWeight

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Placed:
    """An activation with its padding and its place, for one image; of n images all bytes are n times as many.

    Attributes:
        offset: bytes from the beginning of the memory.
        image_bytes: of the padded image, a multiple of 64.
        pixel_bytes: the channels, up to a multiple of 4.
        padding: pixels at the top, left, bottom and right.
        first_writer: number of the step that writes it first.
        last_reader: number of the step that reads it last.
    """

    offset: int
    image_bytes: int
    pixel_bytes: int
    padding: tuple[int, int, int, int]
    first_writer: int
    last_reader: int


@dataclass(frozen=True, slots=True)
class Arena:
    """All activations of one image, and the bytes that they take together."""

    activations: tuple[Placed, ...]
    n_bytes: int


def sources_of(step: Step) -> tuple[Slice, ...]:
    """Returns what a step reads."""
    if isinstance(step, Quantise):
        return ()
    residual = getattr(step, "residual", None)
    return (step.source,) if residual is None else (step.source, residual.source)


def arena_of(plan: Plan) -> Arena:
    """Returns places that no two activations share while both are in use: the largest first, each as low as it fits."""
    sizes = [_sized(plan, index) for index in range(len(plan.activations))]
    placed: dict[int, Placed] = {}
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i].image_bytes):
        size = sizes[index]
        others = [p for p in placed.values() if _meet(p, size)]
        offset = 0
        for other in sorted(others, key=lambda p: p.offset):
            if offset + size.image_bytes <= other.offset:
                break
            offset = max(offset, other.offset + other.image_bytes)
        placed[index] = Placed(
            offset, size.image_bytes, size.pixel_bytes, size.padding, size.first_writer, size.last_reader
        )
    n_bytes = max((p.offset + p.image_bytes for p in placed.values()), default=0)
    return Arena(tuple(placed[index] for index in range(len(sizes))), n_bytes)


def _sized(plan: Plan, index: int) -> Placed:
    activation = plan.activations[index]
    writers = [i for i, step in enumerate(plan.steps) if (t := getattr(step, "target", None)) and t.activation == index]
    readers = [i for i, step in enumerate(plan.steps) if any(s.activation == index for s in sources_of(step))]
    paddings = [
        _padding(plan, step) for step in plan.steps if isinstance(step, Convolve) and step.source.activation == index
    ]
    top, left, bottom, right = (max((p[side] for p in paddings), default=0) for side in range(4))
    pixel = -(-activation.channels // QUAD) * QUAD
    n_bytes = (top + activation.height + bottom) * (left + activation.width + right) * pixel
    image = -(-n_bytes // ALIGNMENT) * ALIGNMENT
    return Placed(0, image, pixel, (top, left, bottom, right), writers[0], max([*readers, writers[-1]]))


def _padding(plan: Plan, step: Convolve) -> tuple[int, int, int, int]:
    """Returns the padding of a step; tiles of 2x2 outputs reach one pixel beyond that of an odd number of outputs."""
    if not isinstance(step.weight, WinogradWeight):
        return step.padding
    top, left, bottom, right = step.padding
    source = plan.activations[step.source.activation]
    return top, left, bottom + (source.height + top + bottom) % 2, right + (source.width + left + right) % 2


def _meet(a: Placed, b: Placed) -> bool:
    return a.first_writer <= b.last_reader and b.first_writer <= a.last_reader
