"""Energies against sums worked out by hand, in whole attojoules: counts times the figures of horowitz-45nm.

The three layers of every operator: a 3x3 convolution of 4 to 8 channels on 6x6, a linear layer of 20 to 7, and one that
has a stride of 2 and two groups where the operator allows it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dsnn_hpo.energy.hardware import hardware_energy, load_table
from dsnn_hpo.errors import InputError
from dsnn_hpo.operators import OPERATORS, ShiftConfig, convert_, count_operations, matching, operator

# Attojoules, 10**-18 J, of an operation on integers of so many bits.
MULTIPLY_8, ADD_8, ADD_32, SHIFT_8 = 200_000, 30_000, 100_000, 24_000
FLIP_8 = ABSOLUTE_8 = COMPARE_8 = ADD_8
# 10 bits lie a quarter of the way from 8 to 16: 0.03 and 0.05 pJ.
ADD_10 = ABSOLUTE_10 = 35_000
FLOAT_MULTIPLY, FLOAT_ADD = 3_700_000, 900_000
# A byte of a memory of 8 KB, which holds any of these layers: 10 pJ for 8 bytes.
BYTE = 1_250_000

CONV = (lambda: nn.Conv2d(4, 8, 3, padding=1, bias=False), (4, 6, 6))
LINEAR = (lambda: nn.Linear(20, 7, bias=False), (20,))
GROUPED = (lambda: nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False), (4, 6, 6))
STRIDED = (lambda: nn.Conv2d(10, 8, 3, stride=2, padding=1, bias=False), (10, 6, 6))

# Terms: 8 x 6 x 6 outputs of 4 x 9; 7 of 20; 8 x 3 x 3 outputs of 2 x 9; 8 x 3 x 3 outputs of 10 x 9.
N_CONV, N_LINEAR, N_GROUPED, N_STRIDED = 10_368, 140, 1_296, 6_480
# Bytes that go in and come out, 8 bits each.
M_CONV, M_LINEAR, M_GROUPED, M_STRIDED = 144 + 288, 20 + 7, 144 + 72, 360 + 72

A_PRODUCT = (MULTIPLY_8, ADD_32)
A_SHIFT = (SHIFT_8 + FLIP_8, ADD_32)
A_DISTANCE = (ADD_8 + ABSOLUTE_8, ADD_32)
A_MINIMUM = (COMPARE_8 + FLIP_8, ADD_32)
EACH_INPUT_OF_MINIMA = SHIFT_8 + ABSOLUTE_8


def energy(term, n, *, weights, moved, extra=0):
    """Returns what n terms cost: computing, accumulating, moving weights, moving activations."""
    return (n * term[0] + extra, n * term[1], weights * BYTE, moved * BYTE)


def added(*rows):
    return tuple(map(sum, zip(*rows, strict=True)))


def three(term, weight_bits=8, n_each=1, linear_extra=0, conv_extra=0, grouped_extra=0):
    """Returns the energies of the three layers of an operator that keeps their geometry."""
    return {
        "conv": energy(term, n_each * N_CONV, weights=288 * weight_bits // 8, moved=M_CONV, extra=conv_extra),
        "linear": energy(
            term, n_each * N_LINEAR, weights=(140 * weight_bits + 7) // 8, moved=M_LINEAR, extra=linear_extra
        ),
        "grouped": energy(
            term, n_each * N_GROUPED, weights=144 * weight_bits // 8, moved=M_GROUPED, extra=grouped_extra
        ),
    }


def with_bytes(row, n_weight_bytes):
    """Returns the row with so many bytes of weights more."""
    return added(row, (0, 0, n_weight_bytes * BYTE, 0))


def with_exponent(rows):
    """Returns the rows of an annealed layer, whose exponent is a float32."""
    return {name: with_bytes(row, 4) for name, row in rows.items()}


ADDER = three(A_DISTANCE)
PRODUCTS = three(A_PRODUCT)

# Shift and add: the adder goes from 8 channels to 8 (2 groups of 4), or from 7 numbers to 7.
SHIFT_ADD = {
    "conv": added(
        energy(A_SHIFT, N_CONV, weights=144, moved=M_CONV),
        energy(A_DISTANCE, 8 * 36 * 8 * 9, weights=576, moved=288 + 288),
    ),
    "linear": added(
        energy(A_SHIFT, N_LINEAR, weights=70, moved=M_LINEAR), energy(A_DISTANCE, 7 * 7, weights=49, moved=7 + 7)
    ),
    "grouped": added(
        energy(A_SHIFT, N_GROUPED, weights=72, moved=M_GROUPED),
        energy(A_DISTANCE, 8 * 9 * 4 * 9, weights=288, moved=72 + 72),
    ),
}

# 9 tiles of 2x2; 16 distances a tile and pair of channels; 32 additions a tile and input channel to get there, 24 a tile
# and output channel to get back.
WINOGRAD = energy(
    (ADD_10 + ABSOLUTE_10, ADD_32),
    9 * 16 * 4 * 8,
    weights=16 * 4 * 8 + 4,
    moved=M_CONV,
    extra=9 * 32 * 4 * ADD_10 + 9 * 24 * 8 * ADD_32,
)

# A 1x1 convolution of the 10 channels that were moved, which is a copy of 360 bytes.
SPATIAL = added(
    energy((0, 0), 0, weights=0, moved=360 + 360), energy(A_PRODUCT, 8 * 9 * 10, weights=80, moved=M_STRIDED)
)

# 1x1 to 24 channels, batch normalisation of 864 numbers (fused: no bytes but its 4 x 24 float32), ReLU, a copy of 864 bytes,
# 1x1 to 8 channels.
SHIFT_CONV = added(
    energy(A_PRODUCT, 24 * 36 * 4, weights=96, moved=144 + 864),
    energy((FLOAT_MULTIPLY + FLOAT_ADD, 0), 864, weights=4 * 4 * 24, moved=0, extra=864 * COMPARE_8),
    energy((0, 0), 0, weights=0, moved=864 + 864),
    energy(A_PRODUCT, 8 * 36 * 24, weights=192, moved=864 + 288),
)
SHIFT_CONV_STRIDED = added(
    energy(A_PRODUCT, 24 * 36 * 10, weights=240, moved=360 + 864),
    energy((FLOAT_MULTIPLY + FLOAT_ADD, 0), 864, weights=4 * 4 * 24, moved=0, extra=864 * COMPARE_8),
    energy((0, 0), 0, weights=0, moved=864 + 864),
    energy(A_PRODUCT, 8 * 9 * 24, weights=192, moved=864 + 72),
)

# 1x1 to 8 channels, 3x3 of each alone, 1x1 to 8.
PDP = added(
    energy(A_PRODUCT, 8 * 36 * 4, weights=32, moved=144 + 288),
    energy(A_PRODUCT, 8 * 36 * 9, weights=72, moved=288 + 288),
    energy(A_PRODUCT, 8 * 36 * 8, weights=64, moved=288 + 288),
)
PDP_STRIDED = added(
    energy(A_PRODUCT, 8 * 36 * 10, weights=80, moved=360 + 288),
    energy(A_PRODUCT, 8 * 9 * 9, weights=72, moved=288 + 72),
    energy(A_PRODUCT, 8 * 9 * 8, weights=64, moved=72 + 72),
)

STRIDED_ADDER = with_bytes(energy(A_DISTANCE, N_STRIDED, weights=720, moved=M_STRIDED), 4)

EXPECTED = {
    "conv": PRODUCTS,
    "shift_q": three(A_SHIFT, weight_bits=4),
    "shift_ps": three(A_SHIFT, weight_bits=4),
    "fixed_shift": three(A_SHIFT, weight_bits=4),
    "dense_shift": three(A_SHIFT, weight_bits=3),
    "s3": three(A_SHIFT, weight_bits=3),
    "two_term": three(A_SHIFT, weight_bits=8, n_each=2),
    "adder": ADDER,
    "adder_annealed": with_exponent(ADDER),
    # Linear layers become adders, and so do convolutions with a stride.
    "winograd_adder": {"conv": WINOGRAD, "linear": with_exponent(ADDER)["linear"], "strided": STRIDED_ADDER},
    "min_conv": three(
        A_MINIMUM,
        conv_extra=144 * EACH_INPUT_OF_MINIMA,
        linear_extra=20 * EACH_INPUT_OF_MINIMA,
        grouped_extra=144 * EACH_INPUT_OF_MINIMA,
    ),
    "shift_add": SHIFT_ADD,
    "fixed_shift_add": SHIFT_ADD,
    # Too few channels for 9 directions: stays a convolution, as linear layers do.
    "spatial_shift": {"conv": PRODUCTS["conv"], "linear": PRODUCTS["linear"], "strided": SPATIAL},
    "shift_conv": {"conv": SHIFT_CONV, "linear": PRODUCTS["linear"], "strided": SHIFT_CONV_STRIDED},
    "pdp": {"conv": PDP, "linear": PRODUCTS["linear"], "strided": PDP_STRIDED},
}
LAYERS = {"conv": CONV, "linear": LINEAR, "grouped": GROUPED, "strided": STRIDED}
CASES = [(name, layer) for name, rows in EXPECTED.items() for layer in rows]


def converted(name, layer):
    make, shape = LAYERS[layer]
    torch.manual_seed(0)
    chosen = operator(name, ShiftConfig(weight_bits=3 if name in ("dense_shift", "s3") else 4))
    module = make() if chosen is None else convert_(make(), matching("*", chosen), from_trained=False)
    return module, shape


def counted(name, layer, activation_bits=8):
    return count_operations(*converted(name, layer), activation_bits=activation_bits)


def test_every_operator_has_three_layers():
    assert set(EXPECTED) == set(OPERATORS)
    assert all(len(rows) == 3 for rows in EXPECTED.values())


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_by_hand(name, layer):
    result = hardware_energy(counted(name, layer), load_table("horowitz-45nm"))
    rows = [
        (row.compute_uj, row.accumulate_uj, row.weight_memory_uj, row.activation_memory_uj) for row in result.layers
    ]
    attojoules = [amount * 10**12 for amount in added(*rows)]
    assert attojoules == pytest.approx(EXPECTED[name][layer], rel=1e-12)
    assert result.total_uj == pytest.approx(sum(EXPECTED[name][layer]) / 10**12, rel=1e-12)


def test_a_total_names_the_figures_that_nobody_verified():
    table = load_table("horowitz-45nm")
    assert hardware_energy(counted("conv", "conv"), table).unverified == ()
    assert hardware_energy(counted("shift_q", "conv"), table).unverified == ("sign flip, 8-bit int: 0.03 pJ (negated)",)
    winograd = hardware_energy(counted("winograd_adder", "conv"), table).unverified
    assert "addition, 10-bit int: 0.035 pJ (linear between 8 and 16 bits)" in winograd
    fpga = hardware_energy(counted("conv", "conv"), load_table("zynq-7-zc706"))
    assert len(fpga.unverified) == 2
    assert fpga.left_out == ("memory, which the table has no figures of",)


def test_zeros_cost_nothing_where_the_table_skips_them():
    table, counts = load_table("horowitz-45nm"), counted("shift_ps", "conv")
    n_zeros = counts.n_zero_terms
    assert 0 < n_zeros < N_CONV
    saved = hardware_energy(counts, table).total_uj - hardware_energy(counts, replace(table, skips_zeros=True)).total_uj
    assert saved * 10**12 == pytest.approx(n_zeros * sum(A_SHIFT))


def test_the_memory_is_the_smallest_that_holds_all():
    table = load_table("horowitz-45nm")
    network = nn.Sequential(nn.Linear(100, 200, bias=False), nn.Linear(200, 10, bias=False))
    first, last = hardware_energy(count_operations(network, (100,), activation_bits=8), table).layers
    # 22,000 bytes of weights: 32 KB, 20 pJ for 8 bytes; at most 300 bytes of activations: 8 KB.
    assert first.weight_memory_uj * 10**12 == pytest.approx(20_000 * 2_500_000)
    assert last.weight_memory_uj * 10**12 == pytest.approx(2_000 * 2_500_000)
    assert first.activation_memory_uj * 10**12 == pytest.approx(300 * BYTE)
    large = count_operations(nn.Linear(1200, 1000, bias=False), (1200,), activation_bits=8)
    result = hardware_energy(large, table)
    assert result.layers[0].weight_memory_uj == pytest.approx(1_200_000 * 243.75e-6)
    assert result.unverified == ("dram: 243.8 pJ a byte (dram)",)


def test_what_no_memory_holds():
    table = load_table("horowitz-45nm")
    small = replace(table, memory=replace(table.memory, levels=table.memory.levels[:1]))
    counts = count_operations(nn.Linear(100, 100), (100,), activation_bits=8)
    with pytest.raises(InputError, match=r"no memory of the energy table holds the 10,\d+ bytes of weights"):
        hardware_energy(counts, small)


def test_memory_may_be_left_out():
    result = hardware_energy(counted("conv", "conv"), load_table("horowitz-45nm"), "none")
    assert result.total_uj * 10**12 == pytest.approx(N_CONV * sum(A_PRODUCT))
    assert result.left_out == ("memory, as was asked for",)
    with pytest.raises(InputError, match="did you mean 'flat'"):
        hardware_energy(counted("conv", "conv"), load_table("horowitz-45nm"), "flatt")


def test_it_does_not_depend_on_values_of_weights():
    module, shape = converted("shift_q", "conv")
    table = load_table("horowitz-45nm")
    before = hardware_energy(count_operations(module, shape, activation_bits=8), table)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert hardware_energy(count_operations(module, shape, activation_bits=8), table) == before


def test_as_a_table_in_markdown():
    text = str(hardware_energy(counted("shift_add", "linear"), load_table("horowitz-45nm")))
    header, _, shift, adder, total, _, about, unverified, *_ = text.splitlines()
    assert header.startswith("| layer | operator | compute | accumulation |")
    assert "shift_ps" in shift
    assert "adder" in adder
    assert total.startswith("| total |")
    assert about == "Modelled, not measured: horowitz-45nm version 1, 45 nm CMOS at 0.9 V; memory: flat."
    assert unverified.startswith("- never verified: ")
