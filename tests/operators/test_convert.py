import copy

import pytest
import torch
from torch import nn

from dsnn_hpo.models import build_model
from dsnn_hpo.operators import (
    ShiftConfig,
    ShiftConv2d,
    ShiftLayer,
    ShiftLinear,
    clamp_parameters_,
    convert_,
    last_convolutions,
    matching,
    n_convolutions,
    only,
)

Q5 = ShiftConfig("Q", 5)


def shift_convolutions(model):
    return [name for name, module in model.named_modules() if isinstance(module, ShiftConv2d)]


def float_convolutions(model):
    return [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(("name", "count"), [("resnet20", 19), ("googlenet", 64), ("vgg19", 16), ("mlp", 0)])
def test_a_depth_converts_the_last_convolutions_and_every_linear_layer(name, count):
    for depth in sorted({0, 1, count // 2, count, 1000}):
        with torch.device("meta"):
            model = build_model(name, (3, 32, 32), 10, {})
        names = float_convolutions(model)
        assert len(names) == count
        converted = convert_(model, only(last_convolutions(model, depth), Q5), from_trained=False)
        assert converted is model
        first_shift = max(0, count - depth)
        assert shift_convolutions(model) == names[first_shift:]
        assert float_convolutions(model) == names[:first_shift]
        assert not any(isinstance(module, nn.Linear) for module in model.modules())
        assert n_convolutions(model) == count


def test_a_depth_of_six_touches_only_the_last_stage_of_resnet20():
    model = build_model("resnet20", (3, 32, 32), 10, {})
    convert_(model, only(last_convolutions(model, 6), Q5), from_trained=False)
    channels = {m.out_channels for m in model.modules() if isinstance(m, ShiftConv2d)}
    assert channels == {64}


def test_a_negative_depth_is_refused():
    with pytest.raises(ValueError, match="depth must not be negative: -1"):
        last_convolutions(nn.Conv2d(1, 1, 1), -1)


def test_the_filter_is_given_module_and_qualified_name():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), nn.Linear(2, 2))
    seen = []

    def by_name(module, name):
        seen.append((type(module), name))
        return name == "0.0"

    convert_(model, only(by_name, Q5), from_trained=False)
    assert seen == [(nn.Conv2d, "0.0"), (nn.Linear, "1")]
    assert [type(m) for m in (model[0][0], model[0][1], model[1])] == [ShiftConv2d, nn.BatchNorm2d, nn.Linear]


def test_the_root_itself_is_converted_in_the_return_value():
    linear = nn.Linear(3, 2).eval()
    layer = convert_(linear, matching("*", Q5), from_trained=True)
    assert isinstance(layer, ShiftLinear)
    assert layer.weight is linear.weight
    assert not layer.training


def test_layers_in_lists_dictionaries_and_attributes_are_found():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.listed = nn.ModuleList([nn.Linear(2, 2)])
            self.named = nn.ModuleDict({"a": nn.Conv2d(1, 1, 1)})
            self.attribute = nn.Linear(2, 2)

    model = convert_(Network(), matching("*", Q5), from_trained=False)
    assert [type(m) for m in (model.listed[0], model.named["a"], model.attribute)] == [
        ShiftLinear,
        ShiftConv2d,
        ShiftLinear,
    ]


def test_shared_modules_stay_shared():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Sequential(shared))
    convert_(model, matching("*", ShiftConfig("PS")), from_trained=False)
    assert isinstance(model[0], ShiftLinear)
    assert model[0] is model[2] is model[3][0]
    assert len(list(model.parameters())) == 3


def test_mode_dtype_trainability_and_batch_normalisation_are_kept():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3)).double()
    model[0].eval()
    model[2].weight.requires_grad_(False)
    norm = model[1]
    convert_(model, matching("*", ShiftConfig("PS")), from_trained=False)
    assert [m.training for m in model] == [False, True, True]
    assert [m.fixed_point.training for m in (model[0], model[2])] == [False, True]
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert [p.requires_grad for p in (model[2].shift, model[2].sign, model[2].bias)] == [False, False, True]
    assert model[1] is norm


def test_subclasses_are_left_alone():
    attention = nn.MultiheadAttention(4, 2)
    convert_(attention, matching("*", Q5), from_trained=True)
    assert not any(isinstance(module, ShiftLayer) for module in attention.modules())


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
def test_from_trained_weights_the_network_computes_nearly_the_same(shift_type):
    torch.manual_seed(0)
    model = build_model("cnn", (1, 8, 8), 10, {}).eval()
    x = torch.randn(8, 1, 8, 8)
    config = ShiftConfig(shift_type, 8, 12, 12)
    converted = convert_(copy.deepcopy(model), matching("*", config), from_trained=True)
    with torch.no_grad():
        a, b = model(x).flatten(), converted(x).flatten()
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.9
    assert not torch.equal(a, b)


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
def test_a_converted_network_learns(shift_type):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 2))
    convert_(model, matching("*", ShiftConfig(shift_type, 4, 8, 8)), from_trained=False)
    x = torch.randn(256, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    optimizer = torch.optim.RAdam(model.parameters(), lr=0.02)
    for _ in range(250):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        clamp_parameters_(model)
    assert (model.eval()(x).argmax(1) == y).double().mean() > 0.9


def test_a_mapping_gives_each_layer_its_own_operator():
    model = build_model("cnn", (1, 8, 8), 10, {})
    ps = ShiftConfig("PS", 4)
    convert_(model, {"0": Q5, "8": None, "13": ps}, from_trained=False)
    assert {name: m.config for name, m in model.named_modules() if isinstance(m, ShiftLayer)} == {"0": Q5, "13": ps}
    assert float_convolutions(model) == ["4", "8"]


@pytest.mark.parametrize("name", ["1", "seven", "0.weight", ""])
def test_a_mapping_with_a_name_that_no_layer_has_is_refused(name):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match=rf"no convolution or linear layer '{name}' \(.*allowed: 0\)"):
        convert_(model, {"0": Q5, name: Q5}, from_trained=False)
    assert type(model[0]) is nn.Conv2d


def test_a_shared_module_may_be_named_by_any_of_its_names_but_in_one_way():
    shared = nn.Linear(4, 4)
    for name in ("0", "2"):
        model = convert_(nn.Sequential(shared, nn.ReLU(), shared), {name: Q5}, from_trained=False)
        assert isinstance(model[0], ShiftLinear)
        assert model[0] is model[2]
    model = nn.Sequential(shared, nn.ReLU(), shared)
    with pytest.raises(ValueError, match="'0' and '2' are one module"):
        convert_(model, {"0": Q5, "2": ShiftConfig("PS")}, from_trained=False)
    convert_(model, {"0": Q5, "2": Q5}, from_trained=False)
    assert isinstance(model[0], ShiftLinear)


@pytest.mark.parametrize("wrong", ["shift_q", True, 3])
def test_what_is_no_operator_is_refused(wrong):
    with pytest.raises(TypeError, match=f"layer '0': expected an operator .* not {wrong!r}"):
        convert_(nn.Sequential(nn.Linear(2, 2)), {"0": wrong}, from_trained=False)


class Undefined:
    """An operator that no layer can become."""

    def layer(self, module, *, from_trained):
        return module


class Composite:
    """An operator of two layers, as shift-add pairs are."""

    def layer(self, module, *, from_trained):
        return nn.Sequential(Q5.layer(module, from_trained=from_trained), nn.Dropout())


def test_a_layer_that_its_operator_is_not_defined_for_is_left_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1)).eval()
    before = list(model)
    convert_(model, {"0": Undefined(), "1": Undefined()}, from_trained=True)
    assert list(model) == before
    assert not any(m.training for m in model.modules())


def test_all_parts_of_a_replacement_have_the_mode_of_the_layer():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].eval()
    convert_(model, matching("*", Composite()), from_trained=True)
    assert [[m.training for m in part.modules()] for part in model] == [[True] * 4, [False] * 4]


def test_every_layer_is_chosen_before_any_is_replaced():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    seen = []

    def look(module, name):
        seen.append([type(m) for m in model])
        return Q5

    convert_(model, look, from_trained=True)
    assert seen == [[nn.Linear] * 2] * 2
