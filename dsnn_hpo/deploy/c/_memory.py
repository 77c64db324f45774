"""Where activations lie in the one array that they share, without padding."""

from __future__ import annotations

from dataclasses import dataclass

from dsnn_hpo.kernels._arena import arena_of
from dsnn_hpo.kernels.plan import Plan


@dataclass(frozen=True, slots=True)
class Memory:
    """The first byte of each activation, and the bytes of all together."""

    offsets: tuple[int, ...]
    n_bytes: int


def memory_of(plan: Plan) -> Memory:
    """Returns places that no two activations share while both are in use: the largest first, each as low as it fits."""
    uses = arena_of(plan).activations
    sizes = [a.channels * a.height * a.width for a in plan.activations]
    offsets: dict[int, int] = {}
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        use, offset = uses[index], 0
        others = [
            other
            for other in offsets
            if uses[other].first_writer <= use.last_reader and use.first_writer <= uses[other].last_reader
        ]
        for other in sorted(others, key=offsets.__getitem__):
            if offset + sizes[index] <= offsets[other]:
                break
            offset = max(offset, offsets[other] + sizes[other])
        offsets[index] = offset
    n_bytes = max(offsets[index] + sizes[index] for index in offsets)
    return Memory(tuple(offsets[index] for index in range(len(sizes))), n_bytes)
