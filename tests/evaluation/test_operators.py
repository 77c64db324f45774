"""Which layers a configuration converts, and to what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from dsnn_hpo.evaluation import Task, TaskConfig, evaluate
from dsnn_hpo.evaluation._settings import settings_of
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import ShiftConfig, ShiftLayer, convert_
from dsnn_hpo.trial import Scalar, Trial, TrialState

SHAPE = (1, 8, 8)
FIRST, LAST = "0.0", "4"
STAGES = [
    [FIRST, "1.0.conv1", "1.0.conv2"],
    ["1.1.conv1", "1.1.conv2"],
    ["1.2.conv1", "1.2.conv2", LAST],
]
ALL = [name for stage in STAGES for name in stage]


def network(model: str = "resnet20") -> nn.Module:
    return build_model(model, SHAPE, 10, {"width": 4, "depth": 1})


def converted(config: dict[str, Scalar], model: str = "resnet20") -> dict[str, tuple[str, int]]:
    """Returns the type and the bits of each shift layer that a configuration makes, by name."""
    task = TaskConfig(dataset="digits", model=model, model_arguments={"width": 4, "depth": 1})
    settings = settings_of(Trial(0, config, 1, 0), task, 1)
    assert settings.model_arguments == task.model_arguments
    made = network(model)
    convert_(made, settings.operators.chooser(made, SHAPE), from_trained=False)
    return {
        name: (m.config.shift_type, m.config.weight_bits)
        for name, m in made.named_modules()
        if isinstance(m, ShiftLayer)
    }


def test_without_an_operator_s_name_everything_is_converted_as_published() -> None:
    assert converted({}) == dict.fromkeys(ALL, ("Q", 5))
    assert converted({"shift_type": "PS", "weight_bits": 3}) == dict.fromkeys(ALL, ("PS", 3))
    assert converted({"shift_depth": 2}) == dict.fromkeys(ALL[-3:], ("Q", 5))
    assert converted({"shift_depth": 0}) == {LAST: ("Q", 5)}


def test_an_operator_is_for_all_layers_but_the_last() -> None:
    assert converted({"operator": "shift_ps", "weight_bits": 4}) == dict.fromkeys(ALL[:-1], ("PS", 4))
    assert converted({"operator": "shift_ps", "last_layer": "convert"}) == dict.fromkeys(ALL, ("PS", 5))
    assert converted({"operator": "conv"}) == {}


def test_a_depth_counts_an_operator_s_convolutions_too() -> None:
    assert list(converted({"operator": "shift_q", "shift_depth": 3})) == ALL[-4:-1]
    assert list(converted({"operator": "shift_q", "shift_depth": 3, "last_layer": "convert"})) == ALL[-4:]
    assert converted({"operator": "shift_q", "shift_depth": 0}) == {}


@pytest.mark.parametrize(
    "how", [{}, {"operator": "shift_q"}, {"stage1_operator": "shift_q", "stage3_operator": "shift_q"}]
)
def test_policies_hold_however_layers_are_chosen(how: dict[str, Scalar]) -> None:
    for first in ("keep", "convert"):
        for last in ("keep", "convert"):
            names = converted({**how, "first_layer": first, "last_layer": last})
            assert (FIRST in names, LAST in names) == (first == "convert", last == "convert")
            assert {"1.0.conv1", "1.2.conv2"} <= names.keys()


def test_each_stage_has_its_own_operator_and_bits() -> None:
    config: dict[str, Scalar] = {
        "stage1_operator": "shift_q",
        "stage1_weight_bits": 3,
        "stage3_operator": "shift_ps",
        "weight_bits": 6,
        "last_layer": "convert",
    }
    assert converted(config) == {**dict.fromkeys(STAGES[0], ("Q", 3)), **dict.fromkeys(STAGES[2], ("PS", 6))}


def test_stages_may_differ_in_bits_only() -> None:
    config: dict[str, Scalar] = {"stage2_weight_bits": 3, "shift_type": "PS"}
    expected = {name: ("PS", 3 if name in STAGES[1] else 5) for name in ALL}
    assert converted(config) == expected
    assert converted({"stage2_weight_bits": 3, "operator": "shift_ps", "last_layer": "convert"}) == expected


def test_the_fourth_stage_stands_for_all_that_follow() -> None:
    shape, arguments = (1, 32, 32), {"width": 4}
    task = TaskConfig(dataset="digits", model="vgg11", model_arguments=arguments)
    model = build_model("vgg11", shape, 10, arguments)
    config: dict[str, Scalar] = {"stage4_operator": "shift_q", "last_layer": "convert"}
    choose = settings_of(Trial(0, config, 1, 0), task, 1).operators.chooser(model, shape)
    convert_(model, choose, from_trained=False)
    resolutions = []
    for module in model.modules():
        if isinstance(module, ShiftLayer):
            module.register_forward_hook(lambda _m, _i, output: resolutions.append(output.shape[2:]))
    model(torch.zeros(2, *shape))
    # Two stages of two convolutions each, and the classifier.
    assert resolutions == [(4, 4)] * 2 + [(2, 2)] * 2 + [()]


def test_a_network_of_linear_layers_is_one_stage() -> None:
    assert list(converted({"stage1_operator": "shift_q"}, "mlp")) == ["1"]


MIXED: dict[str, Scalar] = {
    "stage1_operator": "shift_ps",
    "stage2_operator": "shift_q",
    "stage2_weight_bits": 3,
    "last_layer": "convert",
    "lr": 0.01,
}


def test_a_network_of_several_operators_trains_and_goes_on_from_its_checkpoint(
    digits_task: Callable[..., Task],
) -> None:
    task = digits_task(model="resnet20", model_arguments={"width": 4, "depth": 1})
    results = [evaluate(Trial(number, MIXED, fidelity, 3), task) for number, fidelity in enumerate((2, 4))]
    whole = evaluate(
        Trial(0, MIXED, 4, 3), digits_task("whole", model="resnet20", model_arguments={"width": 4, "depth": 1})
    )
    for result in (*results, whole):
        assert result.state is TrialState.COMPLETED, result.error
    assert results[1].n_epochs == 2
    assert results[1].values["error"] == whole.values["error"]
    assert whole.curve[-1].train_loss < whole.curve[0].train_loss


def test_formats_reach_every_stage() -> None:
    config: dict[str, Scalar] = {**MIXED, "activation_fraction_bits": 7, "activation_rounding": "nearest"}
    task = TaskConfig(dataset="digits", model="resnet20", model_arguments={"width": 4, "depth": 1})
    made = network()
    choose = settings_of(Trial(0, config, 1, 0), task, 1).operators.chooser(made, SHAPE)
    formats = [choose(made.get_submodule(stage[1]), stage[1]) for stage in STAGES[:2]]
    assert formats == [
        ShiftConfig("PS", 5, activation_fraction_bits=7, activation_rounding="nearest"),
        ShiftConfig("Q", 3, activation_fraction_bits=7, activation_rounding="nearest"),
    ]


def test_layers_that_an_operator_is_not_defined_for_stay_as_they_are() -> None:
    task = TaskConfig(dataset="digits", model="mlp", model_arguments={"width": 4, "depth": 1})
    config: dict[str, Scalar] = {"operator": "spatial_shift", "last_layer": "convert"}
    made = network("mlp")
    layers = list(made)
    convert_(made, settings_of(Trial(0, config, 1, 0), task, 1).operators.chooser(made, SHAPE), from_trained=False)
    assert list(made) == layers
