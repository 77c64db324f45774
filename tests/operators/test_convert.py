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
    convert_to_shift_,
    last_convolutions,
    n_convolutions,
)

Q5 = ShiftConfig("Q", 5)


def everything(module, name):
    return True


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
        converted = convert_to_shift_(model, Q5, last_convolutions(model, depth), from_trained=False)
        assert converted is model
        first_shift = max(0, count - depth)
        assert shift_convolutions(model) == names[first_shift:]
        assert float_convolutions(model) == names[:first_shift]
        assert not any(isinstance(module, nn.Linear) for module in model.modules())
        assert n_convolutions(model) == count


def test_a_depth_of_six_touches_only_the_last_stage_of_resnet20():
    model = build_model("resnet20", (3, 32, 32), 10, {})
    convert_to_shift_(model, Q5, last_convolutions(model, 6), from_trained=False)
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

    convert_to_shift_(model, Q5, by_name, from_trained=False)
    assert seen == [(nn.Conv2d, "0.0"), (nn.Linear, "1")]
    assert [type(m) for m in (model[0][0], model[0][1], model[1])] == [ShiftConv2d, nn.BatchNorm2d, nn.Linear]


def test_the_root_itself_is_converted_in_the_return_value():
    linear = nn.Linear(3, 2).eval()
    layer = convert_to_shift_(linear, Q5, everything, from_trained=True)
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

    model = convert_to_shift_(Network(), Q5, everything, from_trained=False)
    assert [type(m) for m in (model.listed[0], model.named["a"], model.attribute)] == [
        ShiftLinear,
        ShiftConv2d,
        ShiftLinear,
    ]


def test_shared_modules_stay_shared():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Sequential(shared))
    convert_to_shift_(model, ShiftConfig("PS"), everything, from_trained=False)
    assert isinstance(model[0], ShiftLinear)
    assert model[0] is model[2] is model[3][0]
    assert len(list(model.parameters())) == 3


def test_mode_dtype_trainability_and_batch_normalisation_are_kept():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3)).double()
    model[0].eval()
    model[2].weight.requires_grad_(False)
    norm = model[1]
    convert_to_shift_(model, ShiftConfig("PS"), everything, from_trained=False)
    assert [m.training for m in model] == [False, True, True]
    assert [m.fixed_point.training for m in (model[0], model[2])] == [False, True]
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert [p.requires_grad for p in (model[2].shift, model[2].sign, model[2].bias)] == [False, False, True]
    assert model[1] is norm


def test_subclasses_are_left_alone():
    attention = nn.MultiheadAttention(4, 2)
    convert_to_shift_(attention, Q5, everything, from_trained=True)
    assert not any(isinstance(module, ShiftLayer) for module in attention.modules())


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
def test_from_trained_weights_the_network_computes_nearly_the_same(shift_type):
    torch.manual_seed(0)
    model = build_model("cnn", (1, 8, 8), 10, {}).eval()
    x = torch.randn(8, 1, 8, 8)
    config = ShiftConfig(shift_type, 8, 12, 12)
    converted = convert_to_shift_(copy.deepcopy(model), config, everything, from_trained=True)
    with torch.no_grad():
        a, b = model(x).flatten(), converted(x).flatten()
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.9
    assert not torch.equal(a, b)


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
def test_a_converted_network_learns(shift_type):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 2))
    convert_to_shift_(model, ShiftConfig(shift_type, 4, 8, 8), everything, from_trained=False)
    x = torch.randn(256, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    optimizer = torch.optim.RAdam(model.parameters(), lr=0.02)
    for _ in range(250):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        clamp_parameters_(model)
    assert (model.eval()(x).argmax(1) == y).double().mean() > 0.9
