import pytest
import torch
from torch import nn

from dsnn_hpo.operators import (
    ShiftConfig,
    convert_,
    matching,
    n_convolutions,
    only,
    packed_size_bytes,
)


def network():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5, 7, bias=False))


def test_float_networks_take_four_bytes_an_element():
    # convolution 135 + 5, normalisation 5 + 5 and statistics 5 + 5, linear 35
    assert packed_size_bytes(network()) == 4 * (135 + 5 + 20 + 35)


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
def test_shift_layers_take_their_real_widths_rounded_up_a_tensor(shift_type):
    config = ShiftConfig(shift_type, 3, activation_integer_bits=6, activation_fraction_bits=5)
    model = convert_(network(), matching("*", config), from_trained=False)
    convolution = 51 + 7  # 135 x 3 bits = 50.6 bytes; 5 x 11 bits = 6.9 bytes
    linear = 14  # 35 x 3 bits = 13.1 bytes
    assert packed_size_bytes(model) == convolution + 4 * 20 + linear


def test_biases_take_at_most_32_bits():
    config = ShiftConfig("Q", 2, activation_integer_bits=32, activation_fraction_bits=32)
    model = convert_(nn.Linear(4, 3), matching("*", config), from_trained=False)
    assert packed_size_bytes(model) == 3 + 12


def test_partly_converted_networks_and_shared_tensors():
    linear = nn.Linear(8, 8, bias=False)
    model = nn.Sequential(linear, linear)
    assert packed_size_bytes(model) == 256
    convert_(model, matching("*", ShiftConfig("PS", 4)), from_trained=False)
    assert packed_size_bytes(model) == 32
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    convert_(model, only(lambda _, name: name == "1", ShiftConfig("PS", 4)), from_trained=False)
    assert packed_size_bytes(model) == 256 + 32


def test_the_size_does_not_depend_on_dtype_or_device():
    model = convert_(network(), matching("*", ShiftConfig()), from_trained=False)
    size = packed_size_bytes(model)
    assert packed_size_bytes(model.double()) == size
    assert packed_size_bytes(model.to("meta")) == size


def test_convolutions_are_counted_float_or_shift_and_shared_ones_once():
    shared = nn.Conv2d(1, 1, 3)
    model = nn.Sequential(shared, shared, nn.Conv2d(1, 1, 3), nn.Linear(2, 2), nn.Conv1d(1, 1, 1))
    assert n_convolutions(model) == 2
    convert_(model, only(lambda _, name: name == "2", ShiftConfig()), from_trained=False)
    assert n_convolutions(model) == 2
    assert n_convolutions(torch.nn.Identity()) == 0
