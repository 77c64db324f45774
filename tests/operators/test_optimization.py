import math

import pytest
import torch
from torch import nn

from dsnn_hpo.operators import (
    OperatorLayer,
    ShiftConfig,
    ShiftLinear,
    clamp_parameters_,
    convert_,
    matching,
    parameter_groups,
    regularization,
    set_progress_,
)


def network(shift_type, from_trained=False, bits=4):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    config = ShiftConfig(shift_type, bits, 8, 8)
    return convert_(model, matching("*", config), from_trained=from_trained)


def test_shifts_and_signs_do_not_decay():
    model = network("PS")
    decaying, coded = parameter_groups(model, 0.01)
    assert (decaying["weight_decay"], coded["weight_decay"]) == (0.01, 0.0)
    assert {id(p) for p in coded["params"]} == {
        id(p) for layer in (model[0], model[3]) for p in (layer.shift, layer.sign)
    }
    assert {id(p) for p in decaying["params"]} == {
        id(p) for p in (model[0].bias, model[1].weight, model[1].bias, model[3].bias)
    }


def test_networks_without_ps_have_one_group_of_all_parameters():
    for model in (network("Q"), nn.Linear(2, 2)):
        (group,) = parameter_groups(model, 0.01)
        assert group["weight_decay"] == 0.01
        assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


def test_networks_of_codes_only_have_one_group_without_decay():
    model = ShiftLinear(nn.Linear(2, 2, bias=False), ShiftConfig("PS"))
    (group,) = parameter_groups(model, 0.01)
    assert group["weight_decay"] == 0.0
    assert len(group["params"]) == 2


def test_regularization_is_half_the_decay_times_the_squares_of_the_unrounded_magnitudes():
    model = network("PS")
    value = regularization(model, 0.02)
    expected = sum(
        0.5 * 0.02 * 2.0 ** (2 * p) for layer in (model[0], model[3]) for p in layer.shift.flatten().tolist()
    )
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-5)
    value.backward()
    gradient = 0.02 * torch.log(torch.tensor(2.0)) * 4.0 ** model[3].shift.detach()
    torch.testing.assert_close(model[3].shift.grad, gradient)
    assert model[3].sign.grad is None


def test_regularization_adds_gradients_of_the_definition_to_others_in_every_layout():
    for memory_format in torch.contiguous_format, torch.channels_last:
        model = network("PS").to(memory_format=memory_format)
        model[3].shift.requires_grad_(False)
        shift = model[0].shift
        (2.0 * regularization(model, 0.02) + shift.sum()).backward()
        assert shift.grad.stride() == shift.stride()
        torch.testing.assert_close(shift.grad, 1.0 + 0.04 * math.log(2.0) * 4.0 ** shift.detach())
        assert model[3].shift.grad is None


@pytest.mark.parametrize("model", [network("Q").double(), nn.Identity()], ids=["Q", "no parameters"])
def test_regularization_is_zero_without_ps(model):
    value = regularization(model, 0.02)
    assert value.item() == 0
    assert value.shape == ()
    assert value.dtype is next(model.parameters(), torch.zeros(())).dtype


def test_clamping_keeps_the_values_of_the_network():
    x = torch.randn(4, 1, 3, 3)
    for shift_type in ("Q", "PS"):
        model = network(shift_type).eval()
        with torch.no_grad():
            for parameter in (model[0].weight_parameters[0], model[3].weight_parameters[0]):
                parameter.mul_(100)
        before = model(x)
        clamp_parameters_(model)
        assert torch.equal(model(x), before)


def test_clamping_limits_weights_and_shifts_only():
    q, ps = network("Q"), network("PS", bits=3)
    values = [5.0, -5.0, 1e-9]
    for parameter in (q[3].weight, q[3].bias, ps[3].shift, ps[3].sign):
        parameter.data[..., 0] = torch.tensor(values)[: parameter.shape[0]] if parameter.dim() > 1 else 5.0
    clamp_parameters_(q)
    clamp_parameters_(ps)
    assert q[3].weight[:, 0].tolist() == pytest.approx([1.0, -1.0, 1e-9])
    assert q[3].bias[0].item() == 5.0
    assert ps[3].shift[:, 0].tolist() == pytest.approx([0.0, -2.0, 0.0])
    assert ps[3].sign[:, 0].tolist() == pytest.approx(values)


def test_signs_of_two_bit_weights_can_change():
    layer = ShiftLinear(nn.Linear(1, 1, bias=False), ShiftConfig("Q", 2))
    with torch.no_grad():
        layer.weight.fill_(0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        layer(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        clamp_parameters_(layer)
    assert layer.quantized_weight().item() == -0.5


class Slow(OperatorLayer):
    """A layer that asks for everything that training offers."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 5.0))
        self.free = nn.Parameter(torch.ones(3))
        self.progress = []

    def undecayed_parameters(self):
        return (self.weight,)

    def lr_scales(self):
        return {self.weight: 0.5, self.free: 0.25}

    def limits(self):
        return ((self.weight, -1.0, 2.0),)

    def penalties(self):
        return ((total, self.weight),)

    def set_progress_(self, fraction):
        self.progress.append(fraction)


def total(parameters, weight_decay):
    return weight_decay * sum(p.sum() for p in parameters)


def test_layers_say_what_training_does_for_them():
    model = nn.Sequential(nn.Linear(3, 3), Slow(), Slow(), network("PS"))
    groups = {(g["weight_decay"], g["lr_scale"]): g["params"] for g in parameter_groups(model, 0.1)}
    assert {id(p) for p in groups[0.0, 0.5]} == {id(model[1].weight), id(model[2].weight)}
    assert {id(p) for p in groups[0.1, 0.25]} == {id(model[1].free), id(model[2].free)}
    listed = [id(p) for params in groups.values() for p in params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    expected = 0.1 * 30.0 + regularization(model[3], 0.1).item()
    assert regularization(model, 0.1).item() == pytest.approx(expected, rel=1e-6)
    clamp_parameters_(model)
    assert model[1].weight.tolist() == model[2].weight.tolist() == [2.0] * 3
    set_progress_(model, 0.75)
    assert model[1].progress == model[2].progress == [0.75]
