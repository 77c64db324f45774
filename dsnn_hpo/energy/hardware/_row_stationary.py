"""Bytes that a convolution moves on an array of processing elements which keeps rows of the filter where they are.

The row-stationary dataflow and its accounting by levels (DRAM, shared buffer, array, registers) are those of Chen, Emer
and Sze, "Eyeriss", ISCA 2016, with sizes and costs as in ShiftAddNAS (You et al., ICML 2022).

An element holds a filter's row, one input row and a row of sums. A set of ``kernel height x output rows`` elements
computes one filter over one channel for as many output rows; the array holds several such sets, and what does not fit is
done one after the other. A tiling says how much is done at once:

=========  ========================================================================================================
filters    in an element, and in sets side by side; then as many passes as their sums have room in the buffer for
channels   in an element, and in sets side by side
rows       of the output, side by side
=========  ========================================================================================================

The tiling with the lowest energy is searched for, among all sizes that divide the work into different numbers of parts,
evenly or not. Where it differs from the simulator of ShiftAddNAS: only tilings that fit are considered, and there is an
error that says so where none is; a channel count that is a prime number can be split; strips of rows read the rows that
they share twice; the input is not read again if all of its channels stay in the buffer; sums are as wide as they are,
32 bits for integers; no operator's traffic is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dsnn_hpo.energy.hardware._table import RowStationary
from dsnn_hpo.errors import InputError
from dsnn_hpo.operators import Convolution, LayerCounts

_Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DramTraffic:
    """Bytes that a layer moves to and from DRAM: weights and inputs read, as often as they are, and outputs written."""

    weight_bytes: float
    input_bytes: float
    output_bytes: float


@dataclass(frozen=True, slots=True)
class _Tiled:
    """The best tiling: picojoules of weights (all but the first read from DRAM) and activations, and repeated reads."""

    weight_pj: float
    activation_pj: float
    repeated_weight_bytes: float
    input_dram_bytes: float


def dram_traffic(layer: LayerCounts, array: RowStationary) -> DramTraffic:
    """Returns what a layer that has loops moves to and from DRAM in the best tiling; raises InputError as below."""
    best = _of(layer, array)
    return DramTraffic(layer.weight_bytes + best.repeated_weight_bytes, best.input_dram_bytes, layer.written_bytes)


def array_energy(layer: LayerCounts, array: RowStationary) -> tuple[float, float]:
    """Returns the picojoules of moving a layer's weights, and its activations and sums, through all levels.

    Raises InputError where no tiling fits the array, saying what would be needed.
    """
    best = _of(layer, array)
    weight_pj = best.weight_pj + layer.weight_bytes * array.dram.pj
    return weight_pj, best.activation_pj + layer.written_bytes * array.dram.pj


def _of(layer: LayerCounts, array: RowStationary) -> _Tiled:
    loops = layer.convolution
    if loops is None:
        raise InputError(
            f"the row-stationary model cannot tile layer {layer.name!r} ({layer.operator}): it knows linear layers and "
            "convolutions along one or two dimensions; use memory 'flat'"
        )
    n_inputs = loops.channels[0] * loops.input_size[0] * loops.input_size[1]
    try:
        # What a Winograd adder transforms lies in DRAM as it was.
        return _best(loops, array, min(1.0, 8 * layer.read_bytes / (n_inputs * loops.activation_bits)))
    except InputError as error:
        raise InputError(f"layer {layer.name!r} ({layer.operator}): {error}") from None


@lru_cache(maxsize=4096)
def _best(loops: Convolution, array: RowStationary, input_share: float) -> _Tiled:
    options = [
        _cheapest(_Strip(loops, array, input_share, n_rows), tiles)
        for n_rows in _tile_sizes(loops.output_size[0])
        if (tiles := _tiles(loops, array, n_rows)) is not None
    ]
    found = [option for option in options if option is not None]
    if not found:
        raise InputError(f"no tiling fits the array of the energy table: {_needs(loops)}")
    return min(found, key=lambda tiled: tiled.weight_pj + tiled.activation_pj)


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Tilings that fit elements and registers, an array each: filters and channels in an element, then side by side."""

    filters: _Whole
    channels: _Whole
    filter_sets: _Whole
    channel_sets: _Whole


@dataclass(frozen=True, slots=True)
class _Strip:
    """A layer done ``n_rows`` output rows at a time."""

    loops: Convolution
    array: RowStationary
    input_share: float
    n_rows: int

    @property
    def n_strips(self) -> int:
        """Returns how many strips the output has."""
        return -(-self.loops.output_size[0] // self.n_rows)

    @property
    def n_columns(self) -> int:
        """Returns how many columns of the input are used."""
        return _extent(self.loops, 1, self.loops.output_size[1])

    @property
    def rows_read(self) -> int:
        """Returns the input rows of all strips, those that two share twice."""
        n_full, n_left = divmod(self.loops.output_size[0], self.n_rows)
        last = _extent(self.loops, 0, n_left) if n_left else 0
        return n_full * _extent(self.loops, 0, self.n_rows) + last


def _extent(loops: Convolution, dimension: int, n_outputs: int) -> int:
    """Returns how many rows or columns of the input so many outputs in a row read, those of padding left out."""
    kernel, stride = loops.kernel_size[dimension], loops.stride[dimension]
    reach = loops.dilation[dimension] * (kernel - 1) + 1
    return min(n_outputs * kernel, (n_outputs - 1) * stride + reach, loops.input_size[dimension])


def _cheapest(strip: _Strip, tiles: _Tiles) -> _Tiled | None:
    """Returns the tiling with the lowest energy that fits the buffer; None if there is none."""
    loops, array = strip.loops, strip.array
    n_in, n_out = (n // loops.groups for n in loops.channels)
    (rows, columns), n_positions = loops.kernel_size, loops.output_size[0] * loops.output_size[1]
    input_bytes, sum_bytes = loops.activation_bits / 8, loops.sum_bits / 8
    pieces = _n_pieces(loops, array)

    sets = _parts(n_out, tiles.filters)
    passes = _parts(sets, tiles.filter_sets)
    parts = _parts(n_in, tiles.channels) * pieces
    rounds = _parts(parts, tiles.channel_sets)

    # As many passes over the strip in the buffer as their unfinished sums have room for.
    held = np.minimum(tiles.channels * tiles.channel_sets, n_in) * (
        _extent(loops, 0, strip.n_rows) * strip.n_columns * input_bytes
    )
    sums_each = np.minimum(tiles.filters * tiles.filter_sets, n_out) * (strip.n_rows * loops.output_size[1] * sum_bytes)
    room = np.floor((array.buffer_bytes - held) / sums_each).astype(np.int64)
    fits = room >= 1
    if not fits.any():
        return None
    reads = np.where(rounds == 1, 1, _parts(passes, np.maximum(room, 1)))

    image = strip.rows_read * strip.n_columns * n_in * input_bytes * loops.groups
    input_dram = reads * (image * strip.input_share)
    rows_sent = n_in * rows * loops.output_size[0] * strip.n_columns * pieces * input_bytes * loops.groups
    terms = n_in * n_out * rows * columns * n_positions * loops.groups
    sums = n_out * n_positions * sum_bytes * loops.groups
    activation_pj = (
        input_dram * array.dram.pj
        + (passes * pieces * image + 2 * (rounds - 1) * sums) * array.buffer.pj
        + (sets * rows_sent + (parts * rows - rounds) * sums) * array.array.pj
        + (terms * input_bytes + 2 * (n_in * rows * columns - parts * rows) * sums) * array.register.pj
    )
    best = int(np.argmin(np.where(fits, activation_pj, np.inf)))
    weight_pj, repeated = _weights(strip)
    return _Tiled(weight_pj, float(activation_pj[best]), repeated, float(input_dram[best]))


def _weights(strip: _Strip) -> tuple[float, float]:
    """Returns the picojoules of moving all weights, their first read from DRAM left out, and the bytes read again."""
    loops, array = strip.loops, strip.array
    (n_in, n_out), (rows, columns), (height, width) = loops.channels, loops.kernel_size, loops.output_size
    n_bytes = n_in * n_out // loops.groups * rows * columns * loops.weight_bits / 8
    repeated = (strip.n_strips - 1) * n_bytes
    on_chip_pj = n_bytes * (height * array.array.pj + height * width * array.weight_register.pj)
    return repeated * array.dram.pj + on_chip_pj, repeated


def _tiles(loops: Convolution, array: RowStationary, n_rows: int) -> _Tiles | None:
    """Returns all tilings of filters and channels that elements and registers have room for; None if there are none."""
    n_sets = array.n_elements // (n_rows * loops.kernel_size[0])
    taps = _taps(loops, array)
    if n_sets == 0 or taps == 0:
        return None
    n_in, n_out = (n // loops.groups for n in loops.channels)
    whole_rows = taps == loops.kernel_size[1]
    in_element = [
        (filters, channels)
        for filters in _tile_sizes(n_out)
        for channels in (_tile_sizes(n_in) if whole_rows else (1,))
        if filters * loops.sum_bits <= 8 * array.sum_register_bytes
        and channels * taps * loops.activation_bits <= 8 * array.input_register_bytes
        and filters * channels * taps * loops.weight_bits <= 8 * array.weight_register_bytes
    ]
    side_by_side = [(m, c) for m in _tile_sizes(n_out) for c in _tile_sizes(n_in) if m * c <= n_sets]
    if not in_element:
        return None
    inner = np.array(in_element, dtype=np.int64).repeat(len(side_by_side), axis=0)
    outer = np.tile(np.array(side_by_side, dtype=np.int64), (len(in_element), 1))
    return _Tiles(inner[:, 0], inner[:, 1], outer[:, 0], outer[:, 1])


@lru_cache(maxsize=1024)
def _tile_sizes(n: int) -> tuple[int, ...]:
    """Returns the sizes of a tile that divide n into different numbers of parts, the smallest for each number."""
    return tuple(sorted(set(_sizes(n))))


def _sizes(n: int) -> Iterator[int]:
    for n_parts in range(1, n + 1):
        yield -(-n // n_parts)


def _taps(loops: Convolution, array: RowStationary) -> int:
    """Returns how many weights of a row an element takes at once: all, if its registers have room for as many inputs."""
    return min(loops.kernel_size[1], 8 * array.input_register_bytes // loops.activation_bits)


def _n_pieces(loops: Convolution, array: RowStationary) -> int:
    """Returns into how many pieces a row of the filter is cut."""
    return -(-loops.kernel_size[1] // _taps(loops, array))


def _parts(n: int | _Whole, size: _Whole) -> _Whole:
    return -(-n // size)


def _needs(loops: Convolution) -> str:
    columns = _extent(loops, 1, loops.output_size[1])
    held = _extent(loops, 0, 1) * columns * loops.activation_bits + loops.output_size[1] * loops.sum_bits
    return (
        f"it takes n_elements of at least {loops.kernel_size[0]} (the kernel's height), buffer_bytes of at least "
        f"{-(-held // 8)} (a row of sums and the input it needs), and registers for one input "
        f"({-(-loops.activation_bits // 8)} bytes), one weight ({-(-loops.weight_bits // 8)}) and one sum "
        f"({-(-loops.sum_bits // 8)})"
    )
