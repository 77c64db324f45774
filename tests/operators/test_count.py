"""Counts against numbers that were worked out by hand: each sum is written as outputs x terms."""

import copy
import math
import pickle
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.errors import InputError
from dsnn_hpo.kernels.winograd import INPUT_TRANSFORM, OUTPUT_TRANSFORM
from dsnn_hpo.models import MODELS, build_model
from dsnn_hpo.operators import (
    Adder,
    AdderConv2d,
    AdderLinear,
    Convolution,
    MinConv2d,
    MinLinear,
    OperationCount,
    PointwiseDepthwise,
    ShiftAdd,
    ShiftConfig,
    ShiftConv,
    ShiftConv2d,
    ShiftLinear,
    SpatialShift,
    SpatialShift2d,
    WinogradAdder,
    WinogradAdderConv2d,
    convert_,
    count_operations,
    counts_table,
    packed_size_bytes,
)


def only_row(network, shape, **options):
    (row,) = count_operations(network, shape, **options).layers
    return row


def amounts(counts):
    """Returns what is counted, by (operation, bits, kind)."""
    return {(count.operation, count.bits, count.kind): count.n for count in counts.operations}


def float32(**counts):
    return {(operation, 32, "float"): n for operation, n in counts.items()}


# ------------------------------------------------------------------------------------- float layers


def test_a_convolution():
    row = only_row(nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 10, 12))
    n = 8 * 10 * 12 * 27
    assert amounts(row) == float32(multiplication=n, addition=n)
    assert (row.name, row.operator, row.output_shape) == ("", "conv", (8, 10, 12))
    assert (row.weight_bytes, row.read_bytes, row.written_bytes) == (4 * 216, 4 * 360, 4 * 960)


def test_a_bias_is_what_the_accumulator_starts_at():
    with_bias, without = (only_row(nn.Conv2d(3, 8, 3, bias=bias), (3, 6, 6)) for bias in (True, False))
    assert with_bias.operations == without.operations
    assert with_bias.weight_bytes == without.weight_bytes + 4 * 8


@pytest.mark.parametrize(
    ("convolution", "shape", "output_shape", "n_terms"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (4, 9, 8), (6, 5, 4), 6 * 5 * 4 * 4 * 9),
        (nn.Conv2d(4, 6, 3, stride=2), (4, 9, 8), (6, 4, 3), 6 * 4 * 3 * 4 * 9),
        (nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 5, 5), (6, 5, 5), 6 * 25 * 2 * 9),
        (nn.Conv2d(4, 8, 3, groups=4, dilation=2), (4, 7, 9), (8, 3, 5), 8 * 15 * 1 * 9),
        (nn.Conv2d(2, 3, (1, 5), padding=(0, 2)), (2, 4, 6), (3, 4, 6), 3 * 24 * 2 * 5),
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 4, 6), (3, 4, 6), 3 * 24 * 2 * 9),
        (nn.Conv1d(2, 3, 3), (2, 10), (3, 8), 3 * 8 * 2 * 3),
    ],
)
def test_geometry(convolution, shape, output_shape, n_terms):
    row = only_row(convolution, shape)
    assert row.output_shape == output_shape
    assert amounts(row) == float32(multiplication=n_terms, addition=n_terms)


def test_a_linear_layer():
    row = only_row(nn.Linear(20, 7), (20,))
    assert amounts(row) == float32(multiplication=140, addition=140)
    assert (row.operator, row.weight_bytes, row.read_bytes, row.written_bytes) == ("linear", 4 * 147, 80, 28)
    assert amounts(only_row(nn.Linear(20, 7), (5, 20))) == float32(multiplication=5 * 140, addition=5 * 140)


def test_widths_are_those_of_the_dtype():
    row = only_row(nn.Linear(20, 7).double(), (20,))
    assert amounts(row) == {("multiplication", 64, "float"): 140, ("addition", 64, "float"): 140}
    assert (row.read_bytes, row.written_bytes) == (160, 56)
    row = only_row(nn.Linear(20, 7).bfloat16(), (20,))
    assert amounts(row) == {("multiplication", 16, "float"): 140, ("addition", 16, "float"): 140}


def test_batch_normalisation_scales_and_adds():
    row = only_row(nn.BatchNorm2d(6), (6, 5, 4))
    assert amounts(row) == float32(multiplication=120, addition=120)
    assert (row.operator, row.weight_bytes, row.read_bytes, row.written_bytes) == ("batch_norm", 4 * 24, 480, 480)


# ------------------------------------------------------------------------------------- loops


@pytest.mark.parametrize(
    ("module", "shape", "loops"),
    [
        (
            nn.Conv2d(4, 6, (3, 5), stride=2, padding=1, groups=2, dilation=(1, 2)),
            (4, 9, 11),
            Convolution(2, (4, 6), (3, 5), (2, 2), (1, 2), (9, 11), (5, 3), 8, 8, 32),
        ),
        (
            nn.Conv1d(2, 3, 3, stride=2),
            (2, 9),
            Convolution(1, (2, 3), (1, 3), (1, 2), (1, 1), (1, 9), (1, 4), 8, 8, 32),
        ),
        (nn.Linear(20, 7), (20,), Convolution(1, (20, 7), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), 8, 8, 32)),
        (nn.Linear(20, 7), (5, 20), Convolution(1, (20, 7), (1, 1), (1, 1), (1, 1), (5, 1), (5, 1), 8, 8, 32)),
        (
            ShiftLinear(nn.Linear(20, 7), ShiftConfig("two_term", 4)),
            (20,),
            Convolution(1, (20, 7), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), 8, 8, 32),
        ),
        (
            ShiftLinear(nn.Linear(20, 7), ShiftConfig("Q", 4)),
            (20,),
            Convolution(1, (20, 7), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1), 8, 4, 32),
        ),
        (
            AdderConv2d(nn.Conv2d(4, 6, 3), Adder()),
            (4, 5, 5),
            Convolution(1, (4, 6), (3, 3), (1, 1), (1, 1), (5, 5), (3, 3), 8, 8, 32),
        ),
        (nn.Conv3d(1, 2, 3), (1, 5, 5, 5), None),
        (nn.BatchNorm2d(4), (4, 5, 5), None),
    ],
)
def test_loops_of_sums(module, shape, loops):
    assert only_row(module, shape, activation_bits=8).convolution == loops


def test_loops_have_as_many_terms_as_are_counted():
    """Of the Winograd adder too: a group for each of 16 places, a pixel for each tile of 2x2, edges whole."""
    layer = WinogradAdderConv2d(nn.Conv2d(3, 5, 3, padding=1), WinogradAdder())
    row = only_row(layer, (3, 7, 6), activation_bits=8)
    loops = row.convolution
    assert (loops.groups, loops.output_size, loops.activation_bits) == (16, (4, 3), 10)
    assert math.prod(loops.channels) // loops.groups * math.prod(loops.output_size) == row.n("absolute_value")


# ------------------------------------------------------------------------------------- shift layers


def shift_conv(shift_type="Q", bits=(8, 4), **geometry):
    config = ShiftConfig(shift_type, 4, activation_integer_bits=bits[0], activation_fraction_bits=bits[1])
    return ShiftConv2d(nn.Conv2d(4, 6, 3, **geometry), config)


@pytest.mark.parametrize(
    ("shift_type", "operator"),
    [("Q", "shift_q"), ("PS", "shift_ps"), ("dense", "dense_shift"), ("s3", "s3"), ("fixed", "fixed_shift")],
)
def test_a_shift_layer_shifts_flips_and_adds_each_term(shift_type, operator):
    row = only_row(shift_conv(shift_type, stride=2, padding=1, groups=2), (4, 9, 8))
    n = 6 * 5 * 4 * 2 * 9
    assert amounts(row) == {("shift", 12, "int"): n, ("sign_flip", 12, "int"): n, ("addition", 32, "int"): n}
    assert row.operator == operator
    # 108 codes of 4 bits; 6 biases, 288 inputs and 120 outputs of 12 bits
    assert (row.weight_bytes, row.read_bytes, row.written_bytes) == (54 + 9, 432, 180)


def test_a_linear_shift_layer_of_wide_activations():
    row = only_row(ShiftLinear(nn.Linear(20, 7, bias=False), ShiftConfig("Q", 5)), (20,))
    assert amounts(row) == {("shift", 32, "int"): 140, ("sign_flip", 32, "int"): 140, ("addition", 32, "int"): 140}
    wider = ShiftConfig("Q", 5, activation_integer_bits=32, activation_fraction_bits=32)
    assert only_row(ShiftLinear(nn.Linear(20, 7, bias=False), wider), (20,)) == row


def test_zero_weights_are_counted_and_told():
    layer = shift_conv("PS")
    assert only_row(layer, (4, 8, 8)).n_zero_terms > 0
    with torch.no_grad():
        layer.sign.fill_(1.0)
        layer.sign[2, 1, :, 0] = 0.0
        layer.sign[5, 0, 0, 0] = 0.25
    row = only_row(layer, (4, 8, 8))
    assert row.n("shift") == 6 * 36 * 36
    assert row.n_zero_terms == 36 * (3 + 1)


def test_two_terms_are_two_of_everything():
    layer = shift_conv("two_term", stride=2, padding=1, groups=2)
    with torch.no_grad():
        layer.weight.fill_(0.75)
        layer.weight[3, :, 1, 1] = 0.5
    row = only_row(layer, (4, 9, 8))
    n = 2 * 6 * 5 * 4 * 2 * 9
    assert amounts(row) == {("shift", 12, "int"): n, ("sign_flip", 12, "int"): n, ("addition", 32, "int"): n}
    # One half is one power of two and a zero, three quarters are 1 - 1/4.
    assert row.n_zero_terms == 20 * 2
    # 108 pairs of codes of 4 bits, 6 biases of 12.
    assert (row.operator, row.weight_bytes) == ("two_term", 108 + 9)


def test_dense_shift_has_no_zeros():
    assert only_row(shift_conv("dense"), (4, 8, 8)).n_zero_terms == 0


# ------------------------------------------------------------------------------------- adders


def adder_counts(n):
    return float32(addition=2 * n, absolute_value=n)


@pytest.mark.parametrize(
    ("convolution", "n_terms"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), 6 * 5 * 4 * 4 * 9),
        (nn.Conv2d(4, 6, 3, groups=2, bias=False), 6 * 7 * 6 * 2 * 9),
        (nn.Conv2d(4, 4, (3, 1), groups=4, padding="same"), 4 * 9 * 8 * 1 * 3),
    ],
)
def test_an_adder_layer_subtracts_takes_the_absolute_value_and_adds(convolution, n_terms):
    row = only_row(AdderConv2d(convolution, Adder()), (4, 9, 8))
    assert amounts(row) == adder_counts(n_terms)
    assert (row.operator, row.n_zero_terms) == ("adder", 0)
    assert row.weight_bytes == packed_size_bytes(convolution)
    assert (row.read_bytes, row.written_bytes) == (4 * 288, 4 * math.prod(row.output_shape))


def test_a_linear_adder_layer():
    assert amounts(only_row(AdderLinear(nn.Linear(20, 7), Adder()), (20,))) == adder_counts(140)
    row = only_row(AdderLinear(nn.Linear(20, 7), Adder()), (20,), activation_bits=8)
    expected = {("addition", 8, "int"): 140, ("addition", 32, "int"): 140, ("absolute_value", 8, "int"): 140}
    assert amounts(row) == expected
    assert row.weight_bytes == 140 + 4 * 7


def test_an_annealed_adder_counts_as_what_it_becomes():
    layer, annealed = (AdderLinear(nn.Linear(20, 7), Adder(annealing=name)) for name in ("none", "l2_to_l1"))
    before = only_row(annealed, (20,)).operations
    annealed.set_progress_(1.0)
    assert before == only_row(annealed, (20,)).operations == only_row(layer, (20,)).operations


@pytest.mark.parametrize(("height", "width", "n_tiles"), [(6, 8, 12), (5, 8, 12), (5, 7, 12), (1, 1, 1)])
@pytest.mark.parametrize(("groups", "bias"), [(1, False), (2, True)])
def test_a_winograd_adder_transforms_each_tile(height, width, n_tiles, groups, bias):
    convolution = nn.Conv2d(4, 6, 3, padding=1, groups=groups, bias=bias)
    row = only_row(WinogradAdderConv2d(convolution, Adder()), (4, height, width))
    n_distances = 16 * n_tiles * 6 * (4 // groups)
    n_biases = 6 * height * width if bias else 0
    n_additions = 2 * n_distances + n_tiles * (32 * 4 + 24 * 6) + n_biases
    assert amounts(row) == float32(addition=n_additions, absolute_value=n_distances)
    assert (row.operator, row.output_shape) == ("winograd_adder", (6, height, width))
    assert row.weight_bytes == 4 * (6 * (4 // groups) * 16 + (6 if bias else 0))


def test_a_winograd_adder_of_integers_has_wider_numbers_inside():
    layer = WinogradAdderConv2d(nn.Conv2d(4, 6, 3, padding=1, bias=False), Adder())
    row = only_row(layer, (4, 6, 8), activation_bits=8)
    n = 16 * 12 * 6 * 4
    assert amounts(row) == {
        ("addition", 10, "int"): n + 32 * 12 * 4,
        ("absolute_value", 10, "int"): n,
        ("addition", 32, "int"): n + 24 * 12 * 6,
    }
    assert (row.weight_bytes, row.read_bytes, row.written_bytes) == (16 * 24, 192, 288)


def test_the_winograd_transforms_take_the_additions_that_are_counted():
    # A sum of n numbers is n - 1 additions, in each of the two steps of a transform.
    def n_additions(matrix, n_columns):
        return sum(sum(map(abs, row)) - 1 for row in matrix) * n_columns

    n_input = n_additions(INPUT_TRANSFORM, 4) + n_additions(INPUT_TRANSFORM, 4)
    n_output = n_additions(OUTPUT_TRANSFORM, 4) + n_additions(OUTPUT_TRANSFORM, 2)
    assert (n_input, n_output) == (32, 24)


def test_published_conventions_can_be_had():
    # One addition a term of adder layers, one shift a term of shift layers, one multiplication of others.
    operators = {"conv1": None, "conv2": Adder(), "conv3": ShiftConfig("Q", 4)}
    network = nn.Sequential(OrderedDict((name, nn.Conv2d(4, 4, 3, padding=1)) for name in operators))
    convert_(network, {name: chosen for name, chosen in operators.items() if chosen}, from_trained=False)
    counts = count_operations(network, (4, 5, 5))
    n = 4 * 25 * 4 * 9
    assert counts.n("multiplication") == counts.n("absolute_value") == counts.n("shift") == n
    assert counts.n("addition") == 4 * n


# ------------------------------------------------------------------------------------- minima


def test_a_min_convolution_compares_flips_and_adds():
    row = only_row(MinConv2d(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)), (4, 9, 8))
    n = 6 * 5 * 4 * 2 * 9
    # Each input is scaled by a power of two and split into magnitude and sign, once.
    assert amounts(row) == float32(comparison=n, sign_flip=n, addition=n, absolute_value=288, shift=288)
    assert row.operator == "min_conv"
    assert row.weight_bytes == 4 * (108 + 6)


def test_a_linear_layer_of_minima():
    row = only_row(MinLinear(nn.Linear(20, 7, bias=False)), (20,), activation_bits=8)
    assert amounts(row) == {
        ("comparison", 8, "int"): 140,
        ("sign_flip", 8, "int"): 140,
        ("absolute_value", 8, "int"): 20,
        ("addition", 32, "int"): 140,
        ("shift", 8, "int"): 20,
    }


# ------------------------------------------------------------------------------------- layers of layers


def rows_of(layer, shape):
    return [(row.name, row.operator, row.output_shape) for row in count_operations(layer, shape).layers]


def test_a_spatial_shift_only_moves():
    row = only_row(SpatialShift2d(3), (20, 6, 5))
    assert (row.operator, row.operations) == ("spatial_shift", ())
    assert (row.weight_bytes, row.read_bytes, row.written_bytes) == (0, 4 * 600, 4 * 600)
    layer = SpatialShift().layer(nn.Conv2d(20, 8, 3, stride=2, padding=1), from_trained=False)
    assert rows_of(layer, (20, 6, 5)) == [("shift", "spatial_shift", (20, 6, 5)), ("pointwise", "conv", (8, 3, 3))]
    n = 8 * 3 * 3 * 20
    assert amounts(count_operations(layer, (20, 6, 5))) == float32(multiplication=n, addition=n)


def test_a_conv_shift_conv_block():
    layer = ShiftConv(expansion=3).layer(nn.Conv2d(4, 5, 3, stride=2, padding=1), from_trained=False)
    inside, outside = (15, 6, 7), (5, 3, 4)
    assert rows_of(layer, (4, 6, 7)) == [
        ("expand", "conv", inside),
        ("norm", "batch_norm", inside),
        ("", "relu", inside),
        ("shift", "spatial_shift", inside),
        ("reduce", "conv", outside),
    ]
    macs = 15 * 42 * 4 + 5 * 12 * 15 + 15 * 42
    assert amounts(count_operations(layer, (4, 6, 7))) == float32(
        multiplication=macs, addition=macs, comparison=15 * 42
    )


@pytest.mark.parametrize("rank", [None, 3])
def test_pointwise_depthwise_pointwise(rank):
    layer = PointwiseDepthwise(rank).layer(nn.Conv2d(4, 5, 3, stride=2, padding=1), from_trained=False)
    r = rank or 5
    assert rows_of(layer, (4, 6, 7)) == [
        ("expand", "conv", (r, 6, 7)),
        ("depthwise", "conv", (r, 3, 4)),
        ("reduce", "conv", (5, 3, 4)),
    ]
    macs = r * 42 * 4 + r * 12 * 9 + 5 * 12 * r
    assert amounts(count_operations(layer, (4, 6, 7))) == float32(multiplication=macs, addition=macs)


def test_a_shift_add_pair():
    config = ShiftAdd(ShiftConfig("PS", 4, activation_integer_bits=8, activation_fraction_bits=4))
    layer = config.layer(nn.Conv2d(4, 6, 3, stride=2, padding=1), from_trained=False)
    shift, add = count_operations(layer, (4, 9, 8)).layers
    n_shifts, n_distances = 6 * 20 * 4 * 9, 6 * 20 * 6 * 9
    assert [shift.name, shift.operator, add.name, add.operator] == ["shift", "shift_ps", "add", "adder"]
    assert (shift.n("shift"), shift.n("sign_flip"), shift.n("addition")) == (n_shifts,) * 3
    assert amounts(add) == adder_counts(n_distances)


# ------------------------------------------------------------------------------------- between layers


class Apply(nn.Module):
    """Calls a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "operator", "expected"),
    [
        (F.relu, "relu", {"comparison": 144}),
        (nn.ReLU(inplace=True), "relu", {"comparison": 144}),
        (F.relu6, "clamp", {"comparison": 2 * 144}),
        (nn.ReLU6(), "clamp", {"comparison": 2 * 144}),
        (nn.Hardtanh(), "clamp", {"comparison": 2 * 144}),
        (lambda x: x.clamp(min=0.0), "clamp", {"comparison": 144}),
        (lambda x: x.clamp(0.0, float("inf")), "clamp", {"comparison": 144}),
        (lambda x: x + x, "add", {"addition": 144}),
        (lambda x: x.add_(1.5), "add", {"addition": 144}),
        (lambda x: torch.add(x, x, alpha=0.5), "add", {"addition": 144, "multiplication": 144}),
        (lambda x: x - x, "subtract", {"addition": 144}),
        (lambda x: 1.0 - x, "subtract", {"addition": 144}),
        (lambda x: 2.0 * x, "multiply", {"multiplication": 144}),
        (lambda x: -x, "negate", {"sign_flip": 144}),
        (torch.abs, "absolute", {"absolute_value": 144}),
        (lambda x: torch.maximum(x, x), "maximum", {"comparison": 144}),
        (nn.MaxPool2d(2), "max_pool", {"comparison": 3 * 3 * 4 * 3}),
        (nn.MaxPool2d((3, 2), stride=2, padding=1), "max_pool", {"comparison": 3 * 3 * 5 * 5}),
        (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), "max_pool", {"comparison": 3 * 3 * 4 * 8}),
        (nn.AvgPool2d(2), "mean_pool", {"addition": 3 * 3 * 4 * 4, "multiplication": 3 * 3 * 4}),
        (nn.AdaptiveAvgPool2d(1), "mean", {"addition": 144, "multiplication": 3}),
        # Rows 0-1, 2-3, 4-5; columns 0-2, 2-5, 5-7.
        (nn.AdaptiveAvgPool2d(3), "mean_pool", {"addition": 3 * 6 * 10, "multiplication": 27}),
        (nn.AdaptiveMaxPool2d(3), "max_pool", {"comparison": 3 * 6 * 10 - 27}),
        (lambda x: x.mean((2, 3)), "mean", {"addition": 144, "multiplication": 3}),
        (lambda x: x.sum(1), "sum", {"addition": 144}),
        (lambda x: x.amax((2, 3)), "maximum", {"comparison": 144 - 3}),
        (lambda x: torch.cat([x, x], 1), "concatenate", {}),
        (lambda x: F.pad(x, (1, 1, 1, 1)), "pad", {}),
        (nn.ChannelShuffle(3), "shuffle", {}),
    ],
)
def test_functions(function, operator, expected):
    row = only_row(Apply(function), (3, 6, 8))
    assert row.operator == operator
    assert amounts(row) == float32(**expected)


def test_functions_move_what_they_take_and_give():
    row = only_row(Apply(lambda x: torch.cat([x, x[:, :1]], 1)), (3, 6, 8))
    assert (row.weight_bytes, row.read_bytes, row.written_bytes) == (0, 4 * 192, 4 * 192)
    row = only_row(Apply(lambda x: F.pad(x[:, ::2, ::2, ::2], (0, 0, 0, 0, 1, 1))), (3, 6, 8))
    assert (row.read_bytes, row.written_bytes) == (4 * 24, 4 * 48)
    row = only_row(Apply(lambda x: x + x), (3, 6, 8))
    assert (row.read_bytes, row.written_bytes) == (4 * 288, 4 * 144)


@pytest.mark.parametrize(
    "module",
    [
        nn.Flatten(),
        nn.Identity(),
        nn.Dropout(),
        Apply(lambda x: x.permute(0, 2, 3, 1).contiguous().view(-1, 3)[1:]),
        Apply(lambda x: x.to(memory_format=torch.channels_last).double()),
    ],
)
def test_views_and_layouts_count_nothing(module):
    assert count_operations(module, (3, 6, 8)).layers == ()


# ------------------------------------------------------------------------------------- networks


def test_names_and_order_of_execution():
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    counts = count_operations(nn.Sequential(body, nn.Flatten(), nn.Linear(64, 5)), (3, 6, 6))
    rows = [(row.name, row.operator, row.output_shape) for row in counts.layers]
    four = (4, 4, 4)
    assert rows == [("0.0", "conv", four), ("0.1", "batch_norm", four), ("0.2", "relu", four), ("2", "linear", (5,))]
    assert counts.input_shape == (3, 6, 6)


def test_a_shared_layer_computes_twice_and_is_stored_once():
    shared = nn.Linear(8, 8)
    once, twice = (count_operations(nn.Sequential(*[shared] * n), (8,)) for n in (1, 2))
    assert amounts(twice) == {key: 2 * n for key, n in amounts(once).items()}
    assert [row.weight_bytes for row in twice.layers] == [4 * 72, 0]
    assert (twice.read_bytes, twice.written_bytes) == (64, 64)


def test_a_weight_shared_between_layers_is_stored_once():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    counts = count_operations(nn.Sequential(first, second), (8,))
    assert [row.weight_bytes for row in counts.layers] == [4 * 72, 4 * 8]


def resnet_counts(side, width, depth, n_classes):
    """Returns multiplications, additions, comparisons of the CIFAR form in closed form: stages s of width w, side a."""
    stages = [(width * 2**s, -(-side // 2**s)) for s in range(3)]
    macs = 27 * width * side**2
    elements = width * side**2
    for s, (w, a) in enumerate(stages):
        first = w if s == 0 else w // 2
        macs += 9 * a * a * (first * w + (2 * depth - 1) * w * w)
        elements += 2 * depth * w * a * a
    sums = sum(depth * w * a * a for w, a in stages)
    last, a = stages[-1]
    head = last * n_classes
    return {
        "multiplication": macs + elements + last + head,
        "addition": macs + elements + sums + last * a * a + head,
        "comparison": elements,
    }


@pytest.mark.parametrize(("side", "width", "depth"), [(32, 16, 3), (28, 8, 1)])
def test_resnet20_as_a_closed_formula(side, width, depth):
    network = build_model("resnet20", (3, side, side), 10, {"width": width, "depth": depth})
    counts = count_operations(network, (3, side, side))
    assert amounts(counts) == float32(**resnet_counts(side, width, depth, 10))


def test_the_published_multiply_accumulates_of_resnet20():
    # 40.55 M in the convolutions and the linear layer, of He et al.'s network (thop, fvcore: 40.55, 40.6 M).
    counts = count_operations(build_model("resnet20", (3, 32, 32), 10, {}), (3, 32, 32))
    macs = sum(row.n("multiplication") for row in counts.layers if row.operator in ("conv", "linear"))
    assert macs == 40_551_040


@pytest.mark.parametrize("name", MODELS)
def test_shipped_networks_store_what_they_pack(name):
    network = build_model(name, (1, 16, 16), 10, {})
    counts = count_operations(network, (1, 16, 16))
    assert counts.weight_bytes == packed_size_bytes(network)
    assert counts.n("multiplication") > 0


def test_the_network_is_left_as_it_was():
    network = build_model("resnet20", (1, 28, 28), 10, {"width": 4, "depth": 1}).train()
    network[0][1].eval()
    modes = [module.training for module in network.modules()]
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    count_operations(network, (1, 28, 28))
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("name", ["mlp", "resnet20", "vgg11"])
def test_inference_mode_changes_nothing(name):
    network = build_model(name, (3, 16, 16), 10, {})
    counts = count_operations(network, (3, 16, 16))
    with torch.inference_mode():
        assert count_operations(network, (3, 16, 16)) == counts
        assert count_operations(build_model(name, (3, 16, 16), 10, {}), (3, 16, 16)) == counts


def test_counts_are_values():
    network = nn.Sequential(shift_conv(), nn.ReLU())
    counts = count_operations(network, (4, 8, 8))
    assert count_operations(network, (4, 8, 8)) == counts
    assert pickle.loads(pickle.dumps(counts)) == counts  # noqa: S301 - made here
    assert hash(counts) == hash(copy.deepcopy(counts))
    assert counts.n("comparison") == 6 * 36
    assert counts.operations[-1] == OperationCount("sign_flip", 12, "int", 6 * 36 * 36)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(5, 9),
    st.integers(5, 9),
)
def test_terms_are_those_that_a_sum_of_ones_has(groups, c, kernel, stride, padding, height, width):
    # With ones everywhere, padding included, an output is its number of terms.
    layer = nn.Conv2d(
        c * groups, 2 * groups, kernel, stride, padding, groups=groups, bias=False, padding_mode="replicate"
    )
    nn.init.ones_(layer.weight)
    shape = (c * groups, height, width)
    n_terms = int(layer(torch.ones(1, *shape)).sum())
    assert amounts(only_row(layer, shape)) == float32(multiplication=n_terms, addition=n_terms)


# ------------------------------------------------------------------------------------- integers


def test_a_frozen_network_computes_on_integers():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), shift_conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    conv, norm, relu, shift, mean = count_operations(network, (3, 9, 9), activation_bits=8).layers
    n = 4 * 49 * 27
    assert amounts(conv) == {("multiplication", 8, "int"): n, ("addition", 32, "int"): n}
    assert (conv.weight_bytes, conv.read_bytes, conv.written_bytes) == (108 + 4 * 4, 243, 196)
    assert amounts(norm) == float32(multiplication=196, addition=196)
    assert (norm.weight_bytes, norm.read_bytes) == (4 * 16, 196)
    assert amounts(relu) == {("comparison", 8, "int"): 196}
    n = 6 * 25 * 36
    assert amounts(shift) == {("shift", 8, "int"): n, ("sign_flip", 8, "int"): n, ("addition", 32, "int"): n}
    assert (shift.weight_bytes, shift.read_bytes, shift.written_bytes) == (108 + 9, 196, 150)
    assert amounts(mean) == {("addition", 32, "int"): 150, ("multiplication", 32, "float"): 6}


# ------------------------------------------------------------------------------------- tables


def test_the_table_has_a_row_a_call_and_sums():
    counts = count_operations(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU()), (3, 32, 32))
    lines = str(counts).splitlines()
    assert str(counts) == counts_table(counts)
    assert lines[0].startswith("| layer | operator | output | multiplications | additions | shifts | comparisons |")
    assert lines[2] == "| 0 | conv | 8x30x30 | 194,400 | 194,400 | 0 | 0 | 0 | 0 | 864 | 41,088 |"
    assert lines[4] == "| total |  |  | 194,400 | 194,400 | 0 | 7,200 | 0 | 0 | 864 | 98,688 |"
    assert len({line.count("|") for line in lines}) == 1


# ------------------------------------------------------------------------------------- mistakes


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.gain * x


class OwnConv(nn.Conv2d):
    pass


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.ReLU(), Scale()), r"cannot count module '1' \(Scale\), which holds gain: .*Conv2d"),
        (nn.Sequential(OwnConv(3, 4, 3)), r"cannot count module '0' \(OwnConv\), which holds weight, bias"),
        (nn.Sequential(nn.ConvTranspose2d(3, 4, 3)), r"cannot count module '0' \(ConvTranspose2d\)"),
        (nn.Sequential(nn.ReLU(), nn.Sigmoid()), r"cannot count the function 'sigmoid' that module '1' calls: .*ReLU6"),
        (Apply(torch.exp), r"cannot count the function 'exp' that the network calls"),
        (nn.BatchNorm2d(3, track_running_stats=False), "without running statistics"),
        (nn.Sequential(nn.Conv2d(5, 4, 3)), r"the network fails on a sample of shape \(3, 8, 8\).*RuntimeError"),
        (nn.Conv2d(3, 4, 3, device="meta"), "'weight' is on the meta device"),
    ],
)
def test_what_cannot_be_counted_is_named(network, message):
    modes = [module.training for module in network.modules()]
    with pytest.raises(InputError, match=message):
        count_operations(network, (3, 8, 8))
    assert [module.training for module in network.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize("shape", [(), (3, 0, 8), (3, -1), (3.0, 8, 8), 8])
def test_shapes_that_are_none(shape):
    with pytest.raises(InputError, match="input_shape must be one sample's shape"):
        count_operations(nn.ReLU(), shape)


@pytest.mark.parametrize("bits", [0, 33, 8.0])
def test_bits_that_are_none(bits):
    with pytest.raises(InputError, match="activation_bits must be None or a whole number from 1 to 32"):
        count_operations(nn.ReLU(), (3,), activation_bits=bits)
