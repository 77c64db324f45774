import pytest
from torch import nn

from dsnn_hpo.models import build_model
from dsnn_hpo.operators import (
    ShiftConfig,
    ShiftLayer,
    by_stage,
    convert_,
    keep_first,
    keep_last,
    last_convolutions,
    matching,
    only,
    stages,
)

Q, PS = ShiftConfig("Q"), ShiftConfig("PS")


@pytest.fixture
def resnet():
    """Returns a network of 7 convolutions in 3 stages, a linear layer after them."""
    return build_model("resnet20", (1, 8, 8), 10, {"width": 4, "depth": 1})


CONVOLUTIONS = ["0.0", "1.0.conv1", "1.0.conv2", "1.1.conv1", "1.1.conv2", "1.2.conv1", "1.2.conv2"]


def converted(model, choose):
    convert_(model, choose, from_trained=False)
    return {name: m.config for name, m in model.named_modules() if isinstance(m, ShiftLayer)}


def test_only_takes_any_filter(resnet):
    chosen = converted(resnet, only(lambda module, name: getattr(module, "stride", None) == (2, 2), Q))
    assert chosen == {"1.1.conv1": Q, "1.2.conv1": Q}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", [*CONVOLUTIONS, "4"]),
        ("*.conv2", ["1.0.conv2", "1.1.conv2", "1.2.conv2"]),
        ("1.[02].*", ["1.0.conv1", "1.0.conv2", "1.2.conv1", "1.2.conv2"]),
        ("?", ["4"]),
        ("1.0.conv1", ["1.0.conv1"]),
        ("*.CONV2", []),
        ("conv", []),
    ],
)
def test_matching_takes_the_patterns_of_a_shell(resnet, pattern, names):
    assert list(converted(resnet, matching(pattern, PS))) == names


def test_each_stage_becomes_what_it_is_given(resnet):
    found = stages(resnet, (1, 8, 8))
    chosen = converted(resnet, by_stage(found, {0: Q, 1: None, 2: PS, 3: Q}))
    assert chosen == {**dict.fromkeys(CONVOLUTIONS[:3], Q), **dict.fromkeys([*CONVOLUTIONS[5:], "4"], PS)}


def test_a_layer_without_a_stage_is_left_alone(resnet):
    found = {name: stage for name, stage in stages(resnet, (1, 8, 8)).items() if name != "0.0"}
    assert list(converted(resnet, by_stage(found, {0: Q}))) == CONVOLUTIONS[1:3]


def test_first_and_last_layers_are_kept(resnet):
    every = matching("*", Q)
    assert list(converted(resnet, keep_last(keep_first(every, resnet), resnet))) == CONVOLUTIONS[1:]
    again = build_model("resnet20", (1, 8, 8), 10, {"width": 4, "depth": 1})
    # The last layer is the linear one, so all convolutions but the first, which is not among the last two.
    choose = keep_last(keep_first(only(last_convolutions(again, 2), Q), again), again)
    assert list(converted(again, choose)) == CONVOLUTIONS[-2:]


def test_policies_suit_networks_of_one_kind_and_of_no_layers():
    mlp = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    assert list(converted(mlp, keep_first(matching("*", Q), mlp))) == ["2"]
    convolutions = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    assert list(converted(convolutions, keep_last(matching("*", Q), convolutions))) == ["0"]
    nothing = nn.ReLU()
    assert converted(nothing, keep_last(keep_first(matching("*", Q), nothing), nothing)) == {}
