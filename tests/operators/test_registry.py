import pytest
from torch import nn

from dsnn_hpo.operators import OPERATORS, Operator, ShiftConfig, operator
from dsnn_hpo.search_space import OPERATORS as SEARCHED


def test_a_search_space_knows_all_operators():
    assert set(OPERATORS) == set(SEARCHED)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "conv"])
def test_each_name_makes_a_layer(name):
    made = operator(name, ShiftConfig(weight_bits=4))
    assert isinstance(made, Operator)
    for module in (nn.Conv2d(8, 8, 3, padding=1), nn.Linear(4, 4)):
        assert isinstance(made.layer(module, from_trained=False), nn.Module)
    assert OPERATORS[name].description
    assert OPERATORS[name].paper


def test_a_float_layer_stays_one():
    assert operator("conv", ShiftConfig()) is None


def test_the_types_of_shifts_are_those_of_the_names():
    assert operator("shift_q", ShiftConfig("PS", 4)) == ShiftConfig("Q", 4)
    assert operator("shift_ps", ShiftConfig("Q", 3)) == ShiftConfig("PS", 3)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"no operator 'addre' \(.*allowed: "):
        operator("addre", ShiftConfig())
