"""What the compiled kernels gain over what torch does with the same work on the same machine.

    python benchmarks/kernels.py [--quick] [--threads N ...] [--only TEXT] [--json FILE] [--readme]

Every work is done by our kernel and by its peers in one process, in turns; a ratio is the peer's time over ours, the
median of the rounds. All start from float32 tensors except the convolutions, where ours and torch's quantised one go
from uint8 to uint8. The machine's limit is the longer of two times: its multiply-accumulates at the measured peak of
its widest instruction, and its bytes at the rate at which so many bytes can be read; a ratio to it is the share reached.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import kernel_peers as peers
import torch
from kernel_table import Row, merged, processor, saved_rows, update_readme
from timing import Turns, Work, ratios
from torch import Tensor
from training_step import OPERATORS, training_step

from dsnn_hpo.executor import freeze
from dsnn_hpo.kernels import (
    Geometry,
    Output8Bit,
    adder_conv2d,
    conv2d_u8,
    isa,
    linear_int8,
    linear_packed,
    pack,
    power_of_two_q,
)
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import Adder, AdderConv2d, ShiftConfig, convert_, matching

BITS = 4
N_ADDERS = 8
THOROUGH, QUICK = Turns(9, 0.05), Turns(3, 0.01)
PEAKS: dict[str, Literal[0, 1]] = {"float32": 0, "int8": 1}


@dataclass(frozen=True, slots=True)
class Contest:
    """One work: ours, its peers by name, and what it takes of the machine, for the limit (None: none is told)."""

    ours: Work
    peers: dict[str, Work]
    cost: tuple[int, int, Literal["float32", "int8"]] | None = None
    """Multiply-accumulates, bytes read, and the arithmetic."""


def linear_weight(n: int) -> tuple[Tensor, Tensor]:
    """Returns a weight of powers of two of 4 bits, and a bias."""
    return power_of_two_q(0.05 * torch.randn(n, n), BITS), torch.randn(n)


def linear8(n: int, batch: int, with_deepshift: bool = False) -> Contest:
    """Returns the contest of a linear layer with 8-bit activations."""
    (weight, bias), x = linear_weight(n), torch.randn(batch, n)
    packed = pack(weight, BITS)
    rivals = {**peers.linear_float32(x, weight, bias), peers.INT8_LINEAR: peers.linear_int8(x, weight, bias)}
    rivals[peers.COMPILED] = peers.compiled(Linear(weight, bias), x)
    if with_deepshift:
        rivals[peers.DEEPSHIFT] = peers.linear_deepshift(x, weight)
    return Contest(lambda: linear_int8(x, packed, bias), rivals, (batch * n * n, packed.n_bytes, "int8"))


def linear32(n: int, batch: int) -> Contest:
    """Returns the contest of a linear layer with float activations."""
    (weight, bias), x = linear_weight(n), torch.randn(batch, n)
    packed = pack(weight, BITS)
    rivals = peers.linear_float32(x, weight, bias)
    return Contest(lambda: linear_packed(x, packed, bias), rivals, (batch * n * n, packed.n_bytes, "float32"))


def conv(channels: int, size: int, batch: int, with_deepshift: bool = False) -> Contest:
    """Returns the contest of a 3x3 convolution with as many inputs as outputs, uint8 to uint8, rectified."""
    weight = power_of_two_q(0.1 * torch.randn(channels, channels, 3, 3), BITS)
    bias, x = torch.randn(channels), torch.rand(batch, channels, size, size)
    packed, image = pack(weight, BITS), (x * 255).byte().permute(0, 2, 3, 1).contiguous()
    affine = (torch.full((channels,), 1e-3), bias)
    geometry, rectified = Geometry(padding=(1, 1)), Output8Bit()
    rivals = {
        peers.BEST_LAYOUT: peers.conv_float32(x, weight, bias),
        peers.INT8_CONV: peers.conv_int8(x, weight, bias),
    }
    if with_deepshift:
        rivals[peers.DEEPSHIFT] = peers.conv_deepshift(x, weight)
    cost = (batch * (size * channels) ** 2 * 9, packed.n_bytes + 2 * image.numel(), "int8")
    return Contest(lambda: conv2d_u8(image, packed, affine, geometry, output=rectified), rivals, cost)  # type: ignore[arg-type]


def adders8(channels: int, size: int, batch: int) -> Contest:
    """Returns the contest of 3x3 adder convolutions in a row, frozen to 8 bits, against as many float32 convolutions.

    Ours are normalised and rectified, and go from float32 to float32 in the end.
    """
    layers: list[torch.nn.Module] = []
    for _ in range(N_ADDERS):
        convolution = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        layers += [AdderConv2d(convolution, Adder()), torch.nn.BatchNorm2d(channels), torch.nn.ReLU()]
    network, x = torch.nn.Sequential(*layers, torch.nn.Flatten()), torch.randn(batch, channels, size, size)
    network(x)
    executor = freeze(network.eval(), x)
    single = peers.conv_float32(x, 0.1 * torch.randn(channels, channels, 3, 3), torch.randn(channels))

    def convolutions() -> None:
        for _ in range(N_ADDERS):
            single()

    return Contest(lambda: executor(x), {peers.BEST_LAYOUT: convolutions})


def adder(channels: int, size: int, batch: int) -> Contest:
    """Returns the contest of a 3x3 adder convolution in float32, channels_last."""
    x, weight = torch.randn(batch, channels, size, size), torch.randn(channels, channels, 3, 3)
    image = x.to(memory_format=torch.channels_last)
    rivals = {
        peers.BEST_LAYOUT: peers.conv_float32(x, weight, torch.randn(channels)),
        peers.CDIST: peers.conv_cdist(x, weight),
    }
    return Contest(lambda: adder_conv2d(image, weight, padding=1), rivals)


def resnet20(batch: int) -> Contest:
    """Returns the contest of a forward pass of ResNet20 for CIFAR: all layers of powers of two, by the executor."""
    shape, last = (3, 32, 32), torch.channels_last
    network, shifted = (build_model("resnet20", shape, 10, {}).eval() for _ in range(2))
    config = ShiftConfig(shift_type="Q", weight_bits=BITS)
    shifted = convert_(shifted, matching("*", config), from_trained=False)
    executor = freeze(shifted, torch.randn(64, *shape))
    x = torch.randn(batch, *shape)
    x_last, eager = x.to(memory_format=last), copy.deepcopy(network).to(memory_format=last)  # type: ignore[call-overload]
    rivals = {peers.EAGER: lambda: eager(x_last), peers.COMPILED: peers.compiled(network, x)}
    return Contest(lambda: executor(x), rivals)


def step(name: str) -> Contest:
    """Returns the contest of a training step of ResNet20, batch 128, against the same step in float32."""
    ours = training_step(OPERATORS[name], torch.channels_last, 128)
    return Contest(ours, {peers.EAGER: training_step(None, torch.channels_last, 128)})


class Linear(torch.nn.Module):
    """A linear layer of these parameters, for the compiler."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output."""
        return torch.nn.functional.linear(x, self.weight, self.bias)


def contests(quick: bool) -> Iterator[tuple[str, Callable[[], Contest]]]:
    """Yields the works by name, each with what prepares it."""
    for n in (1024,) if quick else (1024, 2048, 4096):
        for batch in (1, 64) if quick else (1, 8, 64, 256):
            slow = n == 1024 and batch == 1
            yield f"linear {n}x{n}, batch {batch}, 8-bit activations", partial(linear8, n, batch, slow)
        for batch in (1,) if quick else (1, 8):
            yield f"linear {n}x{n}, batch {batch}, float activations", partial(linear32, n, batch)
    for channels, size in ((16, 32), (64, 8)) if quick else ((16, 32), (32, 16), (64, 8), (64, 16), (128, 8)):
        for batch in (1, 128):
            slow = channels == 16 and batch == 1
            name = f"3x3 convolution, {channels} channels, {size}x{size}, batch {batch}"
            yield name, partial(conv, channels, size, batch, slow)
    for channels, size in ((16, 32),) if quick else ((16, 32), (32, 16), (64, 8)):
        for batch in (1, 128):
            name = f"{N_ADDERS} adder 3x3 convolutions, {channels} channels, {size}x{size}, batch {batch}, 8 bits"
            yield name, partial(adders8, channels, size, batch)
    for channels, size in ((16, 32), (32, 16), (64, 8)):
        yield (
            f"adder 3x3 convolution, {channels} channels, {size}x{size}, batch 128, forward",
            partial(adder, channels, size, 128),
        )
    for batch in (1,) if quick else (1, 128):
        yield f"ResNet20 forward, batch {batch}", partial(resnet20, batch)
    for name in ("Q", "PS", "adder") if quick else OPERATORS:
        yield f"ResNet20 training step, batch 128, {name}", partial(step, name)


def measured(work: str, contest: Contest, n_threads: int, turns: Turns) -> list[Row]:
    """Returns the rows of one work, and prints them."""
    names = list(contest.peers)
    ours_s, found = ratios([contest.ours, *contest.peers.values()], turns)
    if (limit_s := limit(contest, n_threads)) is not None:
        names.append(peers.LIMIT)
        found.append(limit_s / ours_s)
    rows = [Row(work, name, n_threads, round(ratio, 3)) for name, ratio in zip(names, found, strict=True)]
    print(f"{work}: {ours_s * 1e6:.0f} us")
    for row in rows:
        print(f"    {row.ratio:8.2f} x  {row.peer}", flush=True)
    return rows


def limit(contest: Contest, n_threads: int) -> float | None:
    """Returns the seconds that the machine needs at least; None where that is not known."""
    if contest.cost is None:
        return None
    macs, n_bytes, arithmetic = contest.cost
    peak = peers.limits(n_threads)[PEAKS[arithmetic]]
    return max(macs / peak, n_bytes / peers.bytes_read_a_second(n_bytes, n_threads)) if peak else None


def main() -> None:
    """Measures, prints, and writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few works, in less than a minute")
    parser.add_argument("--threads", type=int, nargs="+", help="by default 1 and 2; with --quick 1")
    parser.add_argument("--only", default="", metavar="TEXT", help="works whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    parser.add_argument(
        "--readme", action="store_true", help="replace these works' rows beside this file, and the README's table"
    )
    arguments = parser.parse_args()
    rows: list[Row] = []
    for n_threads in arguments.threads or ([1] if arguments.quick else [1, 2]):
        torch.set_num_threads(n_threads)
        print_machine(n_threads)
        for work, prepare in contests(arguments.quick):
            if arguments.only not in work:
                continue
            torch.manual_seed(0)
            # Code compiled for one work must not be found again, and made general, by the next.
            torch.compiler.reset()
            with torch.set_grad_enabled("training" in work):
                rows += measured(work, prepare(), n_threads, QUICK if arguments.quick else THOROUGH)
    if arguments.json:
        arguments.json.write_text(Row.to_json(rows))
    if arguments.readme:
        order = [work for work, _ in contests(quick=False)]
        update_readme(merged(saved_rows(), rows, order), f"{processor()}, {isa()}")


def print_machine(n_threads: int) -> None:
    """Prints what the ratios were measured on."""
    float32, int8 = peers.limits(n_threads)
    rate = peers.bytes_read_a_second(2**28, n_threads)
    print(f"{processor()}, instruction set {isa()}, torch {torch.__version__}, {n_threads} threads")
    print(f"peaks: {float32 / 1e9:.0f} float32 and {int8 / 1e9:.0f} int8 GMAC/s, {rate / 1e9:.0f} GB/s from memory")


if __name__ == "__main__":
    main()
