"""What the GPU's kernels gain over what torch does with the same work on the same GPU.

    python benchmarks/gpu.py [--quick] [--json FILE]

No figure of this benchmark is published: it was written and checked where there is no GPU, and says so there and ends.

A layer runs as a CUDA graph, so that launching costs all alike, over so many copies of its weight that none is found in
the cache; a quantiser, which is long enough, runs as it is. A ratio is the peer's time over ours. Peers: cuBLAS on bfloat16, on int8 (`torch._int_mm`) and on float8
(`torch._scaled_mm`) with weights that are ready for it, and the quantisers' references in plain torch.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from kernel_table import Row
from torch import Tensor
from torch.nn import functional as F

from dsnn_hpo.kernels import (
    PackedWeight,
    fixed_point,
    fixed_point_reference,
    pack,
    power_of_two_q,
    power_of_two_q_reference,
)
from dsnn_hpo.kernels.linear import linear_int8

BITS = 4
COLD_BYTES = 256 * 2**20
"""More than the cache of any GPU that is meant."""
BFLOAT16, INT8, FLOAT8 = "cuBLAS, bfloat16", "torch._int_mm", "torch._scaled_mm, float8"
REFERENCE = "reference in plain torch"
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Contest:
    """One work: ours, its peers by name, and how to find the milliseconds of a call."""

    work: str
    ours: Work
    peers: dict[str, Work]
    milliseconds: Callable[[Work], float]


@dataclass(frozen=True, slots=True)
class Weights:
    """Copies of one weight in every form."""

    packed: list[PackedWeight]
    dense: list[Tensor]
    int8: list[Tensor]
    float8: list[Tensor]


def as_graph(work: Work) -> float:
    """Returns the milliseconds of a call replayed as a CUDA graph."""
    from triton.testing import do_bench_cudagraph

    return float(do_bench_cudagraph(work, return_mode="median"))


def as_it_is(work: Work) -> float:
    """Returns the milliseconds of a call on a cold cache."""
    from triton.testing import do_bench

    return float(do_bench(work, return_mode="median"))


def weights(n: int, k: int) -> Weights:
    """Returns as many copies of a random weight, (n, k), as are too many for the cache when packed."""
    weight = power_of_two_q(0.05 * torch.randn(n, k, device="cuda"), BITS)
    packed = pack(weight, BITS)
    copies = range(math.ceil(COLD_BYTES / packed.n_bytes))
    return Weights(
        [pack(weight, BITS) for _ in copies],
        [weight.bfloat16() for _ in copies],
        [(weight * 2.0**6).to(torch.int8) for _ in copies],
        [weight.to(torch.float8_e5m2) for _ in copies],
    )


def over(copies: list[Any], work: Callable[[Any], object]) -> Work:
    """Returns a call of a work on every copy."""
    return lambda: [work(copy) for copy in copies]


def linear_peers(x: Tensor, forms: Weights) -> dict[str, Work]:
    """Returns cuBLAS on bfloat16 and, for more rows than the few that it refuses, on 8 bits."""
    half = x.bfloat16()
    rivals = {BFLOAT16: over(forms.dense, lambda w: F.linear(half, w))}
    if x.shape[0] > 16:
        q, one = torch.randint(-127, 128, x.shape, dtype=torch.int8, device="cuda"), torch.ones((), device="cuda")
        small = x.to(torch.float8_e4m3fn)
        rivals[INT8] = over(forms.int8, lambda w: torch._int_mm(q, w.t()))
        rivals[FLOAT8] = over(
            forms.float8,
            lambda w: torch._scaled_mm(small, w.t(), one, one, out_dtype=torch.bfloat16, use_fast_accum=False),
        )
    return rivals


def linear_contests(n: int, k: int, batches: tuple[int, ...]) -> Iterator[Contest]:
    """Yields the contests of one layer."""
    from dsnn_hpo.kernels.triton.dense_linear import dense_linear, dense_linear_float8
    from dsnn_hpo.kernels.triton.linear import MAX_ROWS, packed_linear

    forms = weights(n, k)
    for batch in batches:
        x = torch.randn(batch, k, device="cuda")
        half, name = x.bfloat16(), f"{k} to {n}, batch {batch}"
        rivals = linear_peers(x, forms)
        packed = forms.packed
        ours: dict[str, Work] = {
            "bfloat16": over(packed, partial(packed_linear if batch <= MAX_ROWS else dense_linear, half)),
            "8-bit integers": over(packed, partial(linear_int8, x)),
        }
        if batch > 16:
            ours["float8"] = over(packed, partial(dense_linear_float8, half))
        for kind, work in ours.items():
            yield Contest(f"linear, {kind}, {name}", work, rivals, as_graph)


def quantiser_contests(n: int) -> Iterator[Contest]:
    """Yields the contests of the quantisers on n elements."""
    x = torch.randn(n, device="cuda")
    name = f"{n / 1e6:.0f} million"
    peer: dict[str, Work] = {REFERENCE: lambda: power_of_two_q_reference(x, BITS)}
    yield Contest(f"DeepShift-Q, {name} weights", lambda: power_of_two_q(x, BITS), peer, as_it_is)
    peer = {REFERENCE: lambda: fixed_point_reference(x, 4, 4)}
    yield Contest(f"fixed point, {name} activations", lambda: fixed_point(x, 4, 4), peer, as_it_is)


def rows_of(contest: Contest) -> list[Row]:
    """Returns a row a peer; prints them."""
    ours_ms = contest.milliseconds(contest.ours)
    rows = []
    for name, peer in contest.peers.items():
        rows.append(Row(contest.work, name, 1, contest.milliseconds(peer) / ours_ms))
        print(f"{contest.work:<48} {name:<28} {rows[-1].ratio:6.2f}", flush=True)
    return rows


def main() -> None:
    """Measures, prints and, if asked, writes the rows as JSON; without a GPU it says so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one layer and one batch of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: nothing is measured.")
        return
    print(f"{torch.cuda.get_device_name()}: the peer's time over ours")
    shapes = [(4096, 4096)] if arguments.quick else [(4096, 4096), (8192, 8192), (28672, 8192)]
    batches = (1, 1024) if arguments.quick else (1, 16, 64, 256, 1024, 4096)
    rows = []
    with torch.inference_mode():
        for n, k in shapes:
            for contest in linear_contests(n, k, batches):
                rows += rows_of(contest)
        for contest in quantiser_contests(25_000_000):
            rows += rows_of(contest)
    if arguments.json:
        arguments.json.write_text(Row.to_json(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
