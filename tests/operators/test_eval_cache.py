import copy
import io
import pickle

import pytest
import torch
from torch import nn

from dsnn_hpo.operators import ShiftConfig, ShiftConv2d, ShiftLinear, _deepshift, _shift


@pytest.fixture
def roundings(monkeypatch):
    """Counts the roundings of weights."""
    calls = []
    for name in ("power_of_two_q", "power_of_two_ps"):
        original = getattr(_deepshift, name)

        def counted(*args, original=original):
            calls.append(original)
            return original(*args)

        monkeypatch.setattr(_deepshift, name, counted)
    return calls


@pytest.fixture(params=["Q", "PS"])
def layer(request):
    torch.manual_seed(0)
    return ShiftConv2d(nn.Conv2d(2, 3, 3), ShiftConfig(request.param, 4, 8, 8)).eval()


X = torch.linspace(-2, 2, 2 * 6 * 6).reshape(1, 2, 6, 6)


def fresh_output(layer):
    """What a layer without any memory computes from the same parameters."""
    config = layer.config
    other = ShiftConv2d(nn.Conv2d(2, 3, 3), config).eval().to(layer.bias.dtype)
    other.load_state_dict(layer.state_dict())
    return other(X.to(layer.bias.dtype))


def first_parameter(layer):
    return layer.weight_parameters[0]


def test_while_evaluating_the_weight_is_rounded_once_with_and_without_gradients(layer, roundings):
    first = layer(X)
    with torch.no_grad():
        second = layer(X)
    with torch.inference_mode():
        third = layer(X)
    assert len(roundings) == 1
    assert torch.equal(first, second)
    assert torch.equal(second, third)


def test_while_training_the_weight_is_rounded_each_time(layer, roundings):
    layer.train()
    layer(X)
    layer(X)
    assert len(roundings) == 2


def change_by_optimizer(layer):
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer(X).sum().backward()
    optimizer.step()


def change_by_adam_in_training(layer):
    layer.train()
    optimizer = torch.optim.Adam(layer.parameters(), lr=1.0)
    layer(X).sum().backward()
    optimizer.step()
    layer.eval()


def change_in_place(layer):
    with torch.no_grad():
        first_parameter(layer).mul_(-3).sub_(1)


def change_through_data_while_training(layer):
    layer.train()
    first_parameter(layer).data.mul_(-3).sub_(1)
    layer.eval()


def replace_data(layer):
    parameter = first_parameter(layer)
    parameter.data = parameter.data * -3 - 1


def replace_data_twice(layer):
    replace_data(layer)
    replace_data(layer)


def load(layer):
    state = {key: value * -3 - 1 for key, value in layer.state_dict().items()}
    layer.load_state_dict(state)


def load_by_assignment(layer):
    state = {key: value * -3 - 1 for key, value in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)


def replace_parameter(layer):
    name = "weight" if layer.config.shift_type == "Q" else "shift"
    setattr(layer, name, nn.Parameter(first_parameter(layer).detach() * -3 - 1))


@pytest.mark.parametrize(
    "change",
    [
        change_by_optimizer,
        change_by_adam_in_training,
        change_in_place,
        change_through_data_while_training,
        replace_data,
        replace_data_twice,
        load,
        load_by_assignment,
        replace_parameter,
    ],
)
def test_the_weight_is_rounded_again_after_any_change(layer, change):
    with torch.no_grad():
        before = layer(X)
        with torch.enable_grad():
            change(layer)
        after = layer(X)
    assert not torch.equal(after, before)
    torch.testing.assert_close(after, fresh_output(layer), rtol=0, atol=0)


def test_the_weight_is_rounded_again_after_a_change_of_dtype(layer):
    with torch.no_grad():
        layer(X)
        layer.double()
        assert layer.quantized_weight().dtype is torch.float64
        torch.testing.assert_close(layer(X.double()), fresh_output(layer), rtol=0, atol=0)


def test_the_weight_is_rounded_again_after_a_move(layer):
    with torch.no_grad():
        layer(X)
        layer.to("meta")
        assert layer(X.to("meta")).device.type == "meta"


def test_a_weight_remembered_in_inference_mode_serves_gradients_later(layer):
    with torch.inference_mode():
        layer(X)
    layer(X).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_a_layer_made_in_inference_mode_follows_its_changes():
    with torch.inference_mode():
        layer = ShiftLinear(nn.Linear(3, 2), ShiftConfig("Q", 3)).eval()
        before = layer(torch.ones(1, 3))
        layer.weight.mul_(-1)
        assert not torch.equal(layer(torch.ones(1, 3)), before)


def test_state_dict_holds_only_the_parameters(layer):
    layer(X)
    weights = ["weight"] if layer.config.shift_type == "Q" else ["shift", "sign"]
    assert list(layer.state_dict()) == [*weights, "bias"]
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = ShiftConv2d(nn.Conv2d(2, 3, 3), layer.config).eval()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(X), layer(X))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])  # noqa: S301
def test_copies_do_not_share_the_remembered_weight(layer, copied):
    before = layer(X)
    other = copied(layer)
    assert torch.equal(other(X), before)
    change_in_place(other)
    torch.testing.assert_close(other(X), fresh_output(other), rtol=0, atol=0)
    assert not torch.equal(other(X), before)
    assert torch.equal(layer(X), before)


@pytest.mark.parametrize("shift_type", ["Q", "PS"])
@pytest.mark.parametrize("n_rows", [1, 7])
def test_few_rows_are_multiplied_by_the_packed_weight(shift_type, n_rows, monkeypatch):
    torch.manual_seed(0)
    layer = ShiftLinear(nn.Linear(300, 300), ShiftConfig(shift_type, 4, 8, 8)).eval()
    used = []
    original = _shift.linear_packed
    monkeypatch.setattr(_shift, "linear_packed", lambda *args: used.append(args[1]) or original(*args))
    x = torch.randn(n_rows, 300)
    expected = layer(x).detach()
    assert not used  # gradients are recorded
    with torch.no_grad():
        assert torch.allclose(layer(x), expected, atol=1e-5)
        assert torch.allclose(layer(x), expected, atol=1e-5)
    assert len(used) == 2
    assert used[0] is used[1]
    with torch.no_grad():
        layer.weight_parameters[0].mul_(0.25)
        changed = layer(x)
    assert used[2] is not used[1]
    assert torch.allclose(changed, layer(x), atol=1e-5)
    assert copy.deepcopy(layer)._packed is None
    assert layer.train()._packed is None


def test_rows_too_long_to_pack_are_multiplied_as_floats():
    layer = ShiftLinear(nn.Linear(2**17 + 4, 2), ShiftConfig("Q", 4, 8, 8)).eval()
    with torch.no_grad():
        assert layer(torch.ones(1, 2**17 + 4)).shape == (1, 2)


def test_a_diverged_weight_is_not_packed():
    layer = ShiftLinear(nn.Linear(300, 300), ShiftConfig("Q", 4, 8, 8)).eval()
    with torch.no_grad():
        layer.weight[0, 0] = float("nan")
        assert layer(torch.ones(1, 300)).isnan().any()
