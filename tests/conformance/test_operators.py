"""What every operator must do. A new operator is one line in ``operators.OPERATORS``; these tests then name it too."""

from __future__ import annotations

import copy
import functools
import io
import itertools
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dsnn_hpo import operators
from dsnn_hpo.data import PreparedData, Split, load_dataset, prepare
from dsnn_hpo.errors import DsnnHpoError
from dsnn_hpo.executor import freeze
from dsnn_hpo.kernels import Implementation, available_isas
from dsnn_hpo.models import build_model
from dsnn_hpo.operators import (
    OPERATORS,
    Operator,
    OperatorLayer,
    ShiftConfig,
    convert_,
    count_operations,
    keep_first,
    keep_last,
    matching,
    operator,
    packed_size_bytes,
    parameter_groups,
    regularization,
    set_progress_,
)
from dsnn_hpo.training import Checkpoint, TrainingSettings, train

SHIFT = ShiftConfig(weight_bits=4)
# "conv" is the choice of no operator at all.
NAMES = [name for name in OPERATORS if name != "conv"]

Make = Callable[[], nn.Conv2d]
CONVOLUTIONS: dict[str, Make] = {
    "3x3": lambda: nn.Conv2d(18, 8, 3, padding=1),
    "3x3 without padding": lambda: nn.Conv2d(18, 8, 3, bias=False),
    "3x3, stride 2": lambda: nn.Conv2d(18, 8, 3, stride=2, padding=1, bias=False),
    "3x3 of groups": lambda: nn.Conv2d(18, 8, 3, padding=1, groups=2),
    "3x3 of groups, stride 2": lambda: nn.Conv2d(18, 8, 3, stride=2, padding=1, groups=2),
    "3x3 depthwise": lambda: nn.Conv2d(6, 12, 3, padding=1, groups=6),
    "3x3 dilated": lambda: nn.Conv2d(18, 8, 3, padding="same", dilation=2),
    "3x3 around a ring": lambda: nn.Conv2d(18, 8, 3, padding=1, padding_mode="circular"),
    "5x5": lambda: nn.Conv2d(25, 9, 5, padding=2),
    "rectangular": lambda: nn.Conv2d(6, 8, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
    "pointwise": lambda: nn.Conv2d(6, 8, 1),
    "pointwise, stride 2": lambda: nn.Conv2d(6, 8, 1, stride=2, bias=False),
}
# What an operator leaves to float arithmetic, because it is not defined for it.
_GROUPED = {"3x3 of groups", "3x3 of groups, stride 2", "3x3 depthwise"}
_NO_MOVES = {"3x3 without padding", "3x3 around a ring", "rectangular", "pointwise", "pointwise, stride 2", "linear"}
LEFT_ALONE = {
    "spatial_shift": _GROUPED | _NO_MOVES,
    "shift_conv": _GROUPED | _NO_MOVES,
    "pdp": _GROUPED | {"pointwise", "pointwise, stride 2", "linear"},
}
# Which layers it keeps whose terms are products.
PRODUCTS = {name: {"conv", "linear"} for name in LEFT_ALONE}
# Where pixels are left out between two operations, or an operation is another one with a stride.
STRIDES_ITS_OWN_WAY = {"winograd_adder", "shift_add", "fixed_shift_add"}
# What has more layers than the trained network, so that not all of it has a trained weight to start from.
DRAWN_IN_PART = {"shift_add", "fixed_shift_add", "shift_conv"}
DEVICES = ["meta", *(["cuda"] if torch.cuda.is_available() else [])]
N_EPOCHS = 4
SETTINGS = TrainingSettings(optimizer="Adam", lr=0.02, weight_decay=1e-4, batch_size=32, max_epochs=N_EPOCHS, seed=0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def named(name: str, shift: ShiftConfig = SHIFT) -> Operator:
    chosen = operator(name, shift)
    assert chosen is not None
    return chosen


def replaced(name: str, module: nn.Linear | nn.Conv2d, *, from_trained: bool = False, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return named(name).layer(module, from_trained=from_trained)


def float_network() -> nn.Module:
    """Convolutions with stride, with groups and of one pixel, linear layers, batch normalisation after each but one."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 24, bias=False),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Linear(24, 10),
    )


def network(name: str, shift: ShiftConfig = SHIFT, *, from_trained: bool = False, seed: int = 0) -> nn.Module:
    """Returns the network with its inner layers converted, as the papers do."""
    model = float_network()
    torch.manual_seed(seed)
    choose = keep_first(keep_last(matching("*", named(name, shift)), model), model)
    return convert_(model, choose, from_trained=from_trained)


@functools.cache
def data() -> PreparedData:
    rows = np.random.default_rng(0).permutation(1797)
    return prepare(load_dataset("digits"), Split(rows[:512], rows[512:612], rows[612:], test_is_pool=True))


@functools.cache
def trained(name: str) -> tuple[nn.Module, Checkpoint]:
    """Returns a network after a short training, in eval mode, and the training's end; not to be changed."""
    model = network(name)
    return model, train(model, data(), SETTINGS, N_EPOCHS)


def images(n: int = 8) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


def assert_near(found: Tensor, expected: Tensor) -> None:
    # Sums in another order may fall on the other side of a step of the fixed point, 2**-16, in each layer.
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def assert_finite(layer: nn.Module, x: Tensor, below: float = 1e6) -> None:
    """Checks outputs and gradients of a layer in training, and that outputs are not larger than can be."""
    y = layer(x.requires_grad_())
    assert y.abs().max() < below
    y.square().mean().backward()
    for parameter_name, tensor in (("x", x), *layer.named_parameters()):
        assert torch.isfinite(tensor.grad).all(), parameter_name


def test_its_settings_are_a_value(name: str) -> None:
    chosen = named(name)
    assert chosen == named(name)
    assert hash(chosen) == hash(named(name))
    assert pickle.loads(pickle.dumps(chosen)) == chosen  # noqa: S301 - our own bytes
    assert eval(repr(chosen), vars(operators)) == chosen


@pytest.mark.parametrize("geometry", CONVOLUTIONS)
def test_a_convolution_is_replaced_by_one_of_its_geometry(name: str, geometry: str) -> None:
    torch.manual_seed(1)
    convolution = CONVOLUTIONS[geometry]()
    before = copy.deepcopy(convolution.state_dict())
    for from_trained in (False, True):
        layer = replaced(name, convolution, from_trained=from_trained)
        assert isinstance(layer, OperatorLayer) == (geometry not in LEFT_ALONE.get(name, set()))
        assert all(torch.equal(value, before[key]) for key, value in convolution.state_dict().items())
        for height, width in ((9, 8), (6, 7)):
            x = torch.randn(2, convolution.in_channels, height, width)
            assert_finite(layer, x)
            assert layer(x).shape == convolution(x).shape


@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_is_replaced(name: str, bias: bool) -> None:
    for from_trained in (False, True):
        layer = replaced(name, nn.Linear(12, 5, bias=bias), from_trained=from_trained)
        assert isinstance(layer, OperatorLayer) == ("linear" not in LEFT_ALONE.get(name, set()))
        for shape in ((12,), (4, 12), (2, 3, 12)):
            x = torch.randn(shape)
            assert_finite(layer, x)
            assert layer(x).shape == (*shape[:-1], 5)


def test_every_number_of_bits_computes(name: str) -> None:
    for weight_bits in range(2, 9):
        try:
            chosen = named(name, ShiftConfig(weight_bits=weight_bits))
        except ValueError as error:
            assert re.search(rf"weight_bits must be .*, not {weight_bits}$", str(error))  # noqa: PT017 - or none is raised
            continue
        for from_trained in (False, True):
            torch.manual_seed(0)
            layer = chosen.layer(nn.Conv2d(18, 8, 3, padding=1), from_trained=from_trained)
            assert_finite(layer, torch.randn(2, 18, 6, 6), below=1e5)


@pytest.mark.parametrize("value", [0.0, 1e-40, 1e-30, 1e3])
def test_a_weight_of_any_size_is_taken_over(name: str, value: float) -> None:
    for from_trained in (False, True):
        for module in (nn.Conv2d(9, 4, 3, padding=1), nn.Linear(6, 4)):
            nn.init.constant_(module.weight, value)
            x = torch.randn(2, 9, 5, 5) if isinstance(module, nn.Conv2d) else torch.randn(2, 6)
            assert_finite(replaced(name, module, from_trained=from_trained), x, below=1e6)


def test_a_layer_of_one_weight_is_like_others(name: str) -> None:
    for seed in range(10):
        assert_finite(replaced(name, nn.Linear(1, 1), seed=seed), torch.randn(4, 1), below=1e3)
        assert_finite(replaced(name, nn.Conv2d(1, 1, 1), seed=seed), torch.randn(4, 1, 3, 3), below=1e3)


def test_nothing_comes_of_nothing(name: str) -> None:
    for module, shape in ((nn.Conv2d(18, 8, 3, padding=1), (0, 18, 6, 6)), (nn.Linear(12, 5), (0, 12))):
        layer = replaced(name, module).eval()
        x = torch.randn(shape, requires_grad=True)
        y = layer(x)
        assert y.shape == module(x).shape
        y.sum().backward()
        assert x.grad is not None


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STRIDES_ITS_OWN_WAY])
def test_strides_leave_out_pixels(name: str) -> None:
    dense = nn.Conv2d(18, 8, 3, padding=1)
    strided = nn.Conv2d(18, 8, 3, stride=2, padding=1)
    strided.load_state_dict(dense.state_dict())
    x = torch.randn(2, 18, 7, 8)
    y, z = (logits(replaced(name, module, from_trained=True).eval(), x) for module in (dense, strided))
    assert_near(y[:, :, ::2, ::2], z)


@pytest.mark.parametrize("geometry", CONVOLUTIONS)
def test_gradients_reach_every_pixel_that_a_convolution_reads(name: str, geometry: str) -> None:
    def read(layer: nn.Module) -> Tensor:
        x = torch.randn(2, convolution.in_channels, 9, 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
        y = layer(x)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(3)))
        assert torch.isfinite(x.grad).all()
        return x.grad.ne(0).any(dim=1).any(dim=0)

    convolution = CONVOLUTIONS[geometry]()
    # In eval mode, where no batch normalisation inside a layer mixes all pixels.
    assert torch.equal(read(replaced(name, convolution).eval()), read(convolution))


@pytest.mark.parametrize("geometry", ["3x3 of groups", "3x3 of groups, stride 2", "3x3 depthwise"])
def test_groups_do_not_mix(name: str, geometry: str) -> None:
    convolution = CONVOLUTIONS[geometry]()
    layer = replaced(name, convolution).eval()
    n_in, n_out = (n // convolution.groups for n in (convolution.in_channels, convolution.out_channels))
    x = torch.randn(1, convolution.in_channels, 6, 6)
    changed = x.clone()
    changed[:, :n_in] = torch.randn(n_in, 6, 6)
    y, z = logits(layer, x), logits(layer, changed)
    assert not torch.equal(y[:, :n_out], z[:, :n_out])
    assert torch.equal(y[:, n_out:], z[:, n_out:])


def test_another_number_of_channels_is_refused(name: str) -> None:
    with pytest.raises((DsnnHpoError, RuntimeError, ValueError)):
        replaced(name, nn.Conv2d(18, 8, 3))(torch.randn(1, 9, 6, 6))
    with pytest.raises((DsnnHpoError, RuntimeError, ValueError)):
        replaced(name, nn.Linear(12, 5))(torch.randn(2, 6))


def test_it_learns(name: str) -> None:
    curve = trained(name)[1].curve
    losses = [epoch.train_loss for epoch in curve]
    assert np.isfinite(losses).all()
    assert all(after < before for before, after in itertools.pairwise(losses))
    assert losses[-1] < 0.75 * losses[0]
    # By chance it would be 0.9; what is learnt must show in evaluation too.
    assert curve[-1].validation_error < 0.7


def test_every_parameter_is_trained_batch_normalisation_too(name: str) -> None:
    before, after = network(name), trained(name)[0]
    for (parameter_name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert new.requires_grad == old.requires_grad
        assert torch.isfinite(new).all()
        assert not old.requires_grad or not torch.equal(old, new), parameter_name
    norms = [module for module in before.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) >= 6
    for norm in norms:
        assert norm.training
        assert norm.momentum == 0.1
        assert norm.weight.requires_grad
        assert norm.bias.requires_grad


def test_batch_normalisation_itself_is_not_touched(name: str) -> None:
    model = float_network()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    convert_(model, matching("*", named(name)), from_trained=True)
    assert all(any(norm is module for module in model) for norm in norms)


@pytest.mark.parametrize("rounding", ["deterministic", "stochastic"])
def test_evaluation_is_deterministic_and_of_each_sample_alone(name: str, rounding: Any) -> None:
    model = network(name, ShiftConfig(weight_bits=4, rounding=rounding)).eval()
    x = images()
    expected = logits(model, x)
    torch.manual_seed(2)
    assert torch.equal(logits(model, x), expected)
    assert torch.equal(model(x).detach(), expected)
    with torch.inference_mode():
        assert torch.equal(model(x), expected)
    assert_near(torch.cat([logits(model, x[i : i + 1]) for i in range(len(x))]), expected)


def test_training_goes_on_after_inference_mode(name: str) -> None:
    model = network(name).eval()
    with torch.inference_mode():
        model(images())
    model(images()).sum().backward()
    model.train()(images()).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


def test_the_order_of_memory_changes_nothing(name: str) -> None:
    model, x = copy.deepcopy(trained(name)[0]), images()
    expected = logits(model, x)
    model = model.to(memory_format=torch.channels_last)
    assert_near(logits(model, x.contiguous(memory_format=torch.channels_last)), expected)


def test_a_loaded_state_gives_the_same_outputs(name: str) -> None:
    model, checkpoint = trained(name)
    file = io.BytesIO()
    torch.save(checkpoint.network_state, file)
    file.seek(0)
    other = network(name, seed=1).eval()
    assert not torch.equal(logits(other, images()), logits(model, images()))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(logits(other, images()), logits(model, images()))


def test_a_copy_gives_the_same_outputs_and_is_its_own(name: str) -> None:
    model = trained(name)[0]
    expected = logits(model, images())
    pickled: nn.Module = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own bytes
    for copied in (copy.deepcopy(model), pickled):
        assert torch.equal(logits(copied, images()), expected)
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.add_(1.0)
        assert not torch.equal(logits(copied, images()), expected)
        assert torch.equal(logits(model, images()), expected)


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not(name: str) -> None:
    few = prepare(load_dataset("digits"), Split(*np.split(np.arange(96), [40, 64]), test_is_pool=True))
    whole, resumed = network(name), network(name, seed=1)
    expected = train(whole, few, SETTINGS, 3)
    first = train(network(name), few, SETTINGS, 1)
    found = train(resumed, few, SETTINGS, 3, first)
    assert [epoch.train_loss for epoch in found.curve] == [epoch.train_loss for epoch in expected.curve]
    for key, value in expected.network_state.items():
        assert torch.equal(found.network_state[key], value), key


@pytest.mark.parametrize("from_trained", [False, True])
def test_the_dtype_is_kept(name: str, from_trained: bool) -> None:
    model = float_network().double()
    convert_(model, matching("*", named(name)), from_trained=from_trained)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert {b.dtype for b in model.buffers() if b.is_floating_point()} == {torch.float64}
    y = model(images().double())
    assert y.dtype == torch.float64
    y.sum().backward()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("from_trained", [False, True])
def test_the_device_is_kept(name: str, device: str, from_trained: bool) -> None:
    model = float_network().to(device)
    convert_(model, matching("*", named(name)), from_trained=from_trained)
    tensors = itertools.chain(model.parameters(), model.buffers())
    assert {tensor.device.type for tensor in tensors} == {device}
    assert model(images().to(device)).device.type == device


def test_what_is_not_trained_stays_so(name: str) -> None:
    for module in (nn.Conv2d(18, 8, 3, padding=1), nn.Linear(12, 5)):
        layer = replaced(name, module.requires_grad_(False))
        assert not any(p.requires_grad for p in layer.parameters())


def test_parameter_groups_hold_each_parameter_once(name: str) -> None:
    model = network(name)
    groups = parameter_groups(model, 1e-4)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    for group in groups:
        assert group["weight_decay"] in (0.0, 1e-4)
        assert group["lr_scale"] > 0
    own = {id(p) for p in model.parameters()}
    for layer in model.modules():
        if isinstance(layer, OperatorLayer):
            told = [*layer.undecayed_parameters(), *layer.lr_scales(), *(p for p, *_ in layer.limits())]
            assert {id(p) for p in told} <= own
            assert all(low < high for _, low, high in layer.limits())
    penalty = regularization(model, 1e-4)
    assert penalty.shape == ()
    assert penalty.item() >= 0


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DRAWN_IN_PART])
def test_a_trained_layer_is_taken_over_without_chance(name: str) -> None:
    for module in (nn.Conv2d(18, 8, 3, padding=1), nn.Linear(12, 5)):
        x = torch.randn(4, 18, 6, 6) if isinstance(module, nn.Conv2d) else torch.randn(4, 12)
        first, second = (replaced(name, module, from_trained=True, seed=seed).eval() for seed in (0, 1))
        assert torch.equal(logits(first, x), logits(second, x))


def test_a_layer_from_scratch_is_drawn_from_the_seed(name: str) -> None:
    first, again = (logits(network(name, seed=3).eval(), images()) for _ in range(2))
    assert torch.equal(first, again)


def test_progress_ends_where_training_ends(name: str) -> None:
    model = copy.deepcopy(trained(name)[0])
    set_progress_(model, 1.0)
    expected = logits(model, images())
    set_progress_(model, 0.3)
    set_progress_(model, 1.0)
    assert torch.equal(logits(model, images()), expected)


def test_its_work_and_its_parameters_are_counted(name: str) -> None:
    model = network(name)
    counts = count_operations(model, (1, 8, 8))
    assert counts.weight_bytes == packed_size_bytes(model)
    products = {
        layer.operator for layer in counts.layers if layer.n("multiplication") and layer.name not in ("0", "20")
    }
    assert products - {"batch_norm", "mean_pool"} == PRODUCTS.get(name, set())


@pytest.mark.parametrize("beside", ["conv", "shift_q"])
def test_it_goes_with_other_operators_in_residual_blocks(name: str, beside: str) -> None:
    others = operator(beside, SHIFT)
    for first, second in ((named(name), others), (others, named(name))):
        torch.manual_seed(0)
        model = build_model("resnet20", (1, 8, 8), 10, {"width": 8, "depth": 2})
        chosen = {"1.*.conv1": first, "1.*.conv2": second}
        for pattern, made in chosen.items():
            if made is not None:
                convert_(model, matching(pattern, made), from_trained=False)
        blocks = cast("nn.Sequential", model[1])
        x = torch.randn(4, 8, 8, 8).requires_grad_()
        one_by_one = x
        for block in blocks:
            one_by_one = block(one_by_one)
        # In training, blocks that follow each other share passes over memory.
        assert torch.equal(blocks(x), one_by_one)


def test_it_runs_frozen_on_integers(name: str) -> None:
    model, checkpoint = trained(name)
    mean, std = data().mean.view(1, -1, 1, 1), data().std.view(1, -1, 1, 1)
    seen, new = ((part.images.float() / 255 - mean) / std for part in (data().train, data().test))
    executor = freeze(model, seen[:256])
    expected = logits(model, new)
    found = executor.run(new, Implementation.REFERENCE)
    # Activations have 8 bits, and an error grows a little from layer to layer.
    assert ((found - expected).norm() / expected.norm()).item() < 0.1
    reloaded = network(name, seed=1)
    reloaded.load_state_dict(checkpoint.network_state)
    for copied in (freeze(reloaded, seen[:256]), pickle.loads(pickle.dumps(executor))):  # noqa: S301 - our own bytes
        assert torch.equal(copied.run(new, Implementation.REFERENCE), found)
    if available_isas():
        assert torch.equal(executor.run(new, Implementation.COMPILED), found)
