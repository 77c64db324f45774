import dataclasses
import inspect
import pickle

import numpy as np
import pytest

from dsnn_hpo import operators
from dsnn_hpo.operators import ShiftConfig


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weight_bits", 1, "weight_bits must be an integer from 2 to 8 with shift_type 'Q', not 1"),
        ("weight_bits", 9, "weight_bits must be an integer from 2 to 8 with shift_type 'Q', not 9"),
        ("weight_bits", 4.5, "weight_bits must be an integer from 2 to 8 with shift_type 'Q', not 4.5"),
        ("activation_integer_bits", 0, "activation_integer_bits must be an integer from 1 to 32, not 0"),
        ("activation_fraction_bits", 33, "activation_fraction_bits must be an integer from 1 to 32, not 33"),
        ("shift_type", "ps", "shift_type must be 'Q' or 'PS' or 'dense' or 's3' or 'two_term' or 'fixed', not 'ps'"),
        ("rounding", "floor", "rounding must be 'deterministic' or 'stochastic', not 'floor'"),
        ("activation_rounding", "stochastic", "activation_rounding must be 'floor' or 'nearest', not 'stochastic'"),
    ],
)
def test_values_outside_their_range_are_refused_by_name(field, value, message):
    with pytest.raises(ValueError, match=message):
        ShiftConfig(**{field: value})


def test_configs_are_values():
    config = ShiftConfig("PS", weight_bits=np.int64(3))
    assert config == ShiftConfig("PS", 3)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.weight_bits = 4


@pytest.mark.parametrize(("integer", "fraction", "expected"), [(4, 4, 8), (16, 16, 32), (32, 32, 32)])
def test_a_bias_takes_the_bits_of_an_activation_at_most_32(integer, fraction, expected):
    assert ShiftConfig(activation_integer_bits=integer, activation_fraction_bits=fraction).bias_bits == expected


def test_all_lists_exactly_the_public_names():
    objects = vars(operators).items()
    public = {name for name, value in objects if name[0] != "_" and not inspect.ismodule(value)} - {"annotations"}
    assert public == set(operators.__all__)
