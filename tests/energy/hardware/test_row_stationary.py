"""The array: sums by hand where there is one tiling, and what must hold for any."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dsnn_hpo.energy.hardware import Figure, dram_traffic, hardware_energy, load_table
from dsnn_hpo.errors import InputError
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import OPERATORS, ShiftConfig, convert_, count_operations, matching, operator

TABLE = load_table("horowitz-45nm")
ARRAY = TABLE.row_stationary


def counted(module, shape):
    return count_operations(module, shape, activation_bits=8)


def moved_uj(layer_counts, array=ARRAY):
    (row,) = hardware_energy(layer_counts, replace(TABLE, row_stationary=array), "row_stationary").layers
    return row.weight_memory_uj + row.activation_memory_uj


def only(name):
    """Returns an array where nothing but one level costs anything: 1 pJ a byte."""
    levels = ("dram", "buffer", "array", "register", "weight_register")
    return replace(ARRAY, **{level: Figure(float(level == name), "test", True) for level in levels})


@pytest.mark.parametrize(
    ("level", "n_bytes"),
    [
        # Each input once, each weight once, each output once.
        ("dram", 20 + 140 + 7),
        ("weight_register", 140),
    ],
)
def test_a_linear_layer_by_hand(level, n_bytes):
    counts = counted(nn.Linear(20, 7, bias=False), (20,))
    assert moved_uj(counts, only(level)) == pytest.approx(n_bytes * 1e-6)


def test_registers_of_one_filter_by_hand():
    """One channel, one filter, 3x3 on 5x5 without padding: three elements a row of sums, one tiling that matters."""
    counts = counted(nn.Conv2d(1, 1, 3, bias=False), (1, 5, 5))
    # 9 outputs of 9 products: an input byte each; each of 3 rows of 3 products adds twice, 4 bytes read and written.
    assert moved_uj(counts, only("register")) == pytest.approx((81 + 9 * 3 * 2 * 2 * 4) * 1e-6)
    # A row of 5 inputs to each of 3 x 3 elements; 9 weights to each of 3 rows of the output; two of three sums move on.
    assert moved_uj(counts, only("array")) == pytest.approx((9 * 5 + 3 * 9 + 9 * 2 * 4) * 1e-6)
    assert moved_uj(counts, only("buffer")) == pytest.approx(25e-6)
    assert moved_uj(counts, only("dram")) == pytest.approx((25 + 9 + 9) * 1e-6)
    assert moved_uj(counts, only("weight_register")) == pytest.approx(81e-6)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_moves_at_least_what_it_must(name):
    network = nn.Sequential(nn.Conv2d(10, 12, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 64, 10))
    if (chosen := operator(name, ShiftConfig(weight_bits=3))) is not None:
        convert_(network, matching("*", chosen), from_trained=False)
    counts = counted(network, (10, 8, 8))
    tiled = [layer for layer in counts.layers if layer.convolution is not None]
    assert len(tiled) >= 2
    for layer in tiled:
        traffic = dram_traffic(layer, ARRAY)
        assert traffic.weight_bytes >= layer.weight_bytes
        assert traffic.input_bytes >= layer.read_bytes
        assert traffic.output_bytes == layer.written_bytes
    assert hardware_energy(counts, TABLE, "row_stationary").total_uj > hardware_energy(counts, TABLE, "none").total_uj


convolutions = st.tuples(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 5]), st.integers(1, 2), st.integers(5, 20)
)


def layer_of(parameters):
    n_in, n_out, kernel, stride, size = parameters
    module = nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return counted(module, (n_in, size, size))


@settings(max_examples=25, deadline=None)
@given(convolutions, st.sampled_from(["buffer_bytes", "n_elements"]))
def test_more_of_it_never_costs_more(parameters, what):
    counts = layer_of(parameters)
    sizes = (2_000, 8_000, 32_000, 131_072) if what == "buffer_bytes" else (5, 12, 50, 192)
    energies = [moved_uj(counts, replace(ARRAY, **{what: size})) for size in sizes]
    assert all(larger <= smaller * (1 + 1e-12) for smaller, larger in pairwise(energies))


@settings(max_examples=25, deadline=None)
@given(convolutions)
def test_dram_is_never_below_what_is_compulsory(parameters):
    counts = layer_of(parameters)
    n_in, _, kernel, stride, size = parameters
    used = {i * stride + k - kernel // 2 for i in range((size - 1) // stride + 1) for k in range(kernel)} & set(
        range(size)
    )
    for buffer_bytes in (2_000, 131_072):
        traffic = dram_traffic(counts.layers[0], replace(ARRAY, buffer_bytes=buffer_bytes))
        assert traffic.weight_bytes >= counts.layers[0].weight_bytes
        assert traffic.input_bytes >= n_in * len(used) ** 2


def test_a_small_buffer_reads_inputs_again():
    counts = counted(nn.Conv2d(64, 64, 3, padding=1, bias=False), (64, 16, 16))
    large, small = (dram_traffic(counts.layers[0], replace(ARRAY, buffer_bytes=n)) for n in (131_072, 2_000))
    # The sums of all 64 filters, 64 x 16 x 16 of 4 bytes, have room in the large one.
    assert large.input_bytes == 64 * 16 * 16
    assert small.input_bytes > large.input_bytes


def test_a_prime_number_of_channels_can_be_split():
    """Only even splits would leave one filter at a time, or 37, which the registers have no room for."""
    thirty_seven, thirty_six = (counted(nn.Conv2d(8, n, 3, bias=False), (8, 10, 10)) for n in (37, 36))
    assert moved_uj(thirty_seven) < 1.1 * moved_uj(thirty_six)


def test_a_kernel_wider_than_the_registers_is_cut():
    counts = counted(nn.Conv2d(2, 2, 31, padding=15, bias=False), (2, 16, 16))
    assert moved_uj(counts) > 0


def test_fewer_bits_of_a_weight_move_less():
    energies = []
    for bits in (3, 5, 8):
        layer = convert_(nn.Conv2d(16, 16, 3), matching("*", ShiftConfig(weight_bits=bits)), from_trained=False)
        energies.append(moved_uj(counted(layer, (16, 8, 8))))
    assert energies == sorted(energies)
    assert energies[0] < energies[2]


def test_a_winograd_adder_reads_its_input_as_it_was():
    layer = convert_(
        nn.Conv2d(4, 8, 3, padding=1), matching("*", operator("winograd_adder", ShiftConfig())), from_trained=False
    )
    assert dram_traffic(counted(layer, (4, 6, 6)).layers[0], ARRAY).input_bytes == 4 * 6 * 6


def test_what_fits_nowhere():
    counts = counted(nn.Conv2d(4, 8, 3, padding=1), (4, 6, 6))
    # Three rows of 6 inputs, and 6 sums of 4 bytes.
    with pytest.raises(
        InputError, match=r"layer '' \(conv\): no tiling fits.*n_elements of at least 3 .*of at least 42 "
    ):
        hardware_energy(counts, replace(TABLE, row_stationary=replace(ARRAY, buffer_bytes=30)), "row_stationary")
    with pytest.raises(InputError, match="no tiling fits"):
        hardware_energy(counts, replace(TABLE, row_stationary=replace(ARRAY, n_elements=2)), "row_stationary")


def test_a_table_without_an_array():
    counts = counted(nn.Linear(4, 2), (4,))
    with pytest.raises(InputError, match="'zynq-7-zc706' describes no array"):
        hardware_energy(counts, load_table("zynq-7-zc706"), "row_stationary")


def test_three_dimensions_are_not_known():
    with pytest.raises(InputError, match=r"cannot tile layer '' \(conv\).*use memory 'flat'"):
        hardware_energy(counted(nn.Conv3d(1, 2, 3), (1, 5, 5, 5)), TABLE, "row_stationary")


def test_a_whole_network_says_that_the_array_was_never_verified():
    counts = counted(build_model("resnet20", (1, 16, 16), 10, {"width": 4}), (1, 16, 16))
    result = hardware_energy(counts, TABLE, "row_stationary")
    assert any(line.startswith("row-stationary register") for line in result.unverified)
    assert sum(row.activation_memory_uj > 0 for row in result.layers) < len(result.layers)
