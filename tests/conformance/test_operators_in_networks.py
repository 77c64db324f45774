"""What every operator must do inside a network: learn, evaluate, be copied, be counted, run frozen."""

from __future__ import annotations

import copy
import functools
import io
import itertools
import pickle
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dsnn_hpo.data import PreparedData, Split, load_dataset, prepare
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

# Which layers an operator keeps whose terms are products.
PRODUCTS = {name: {"conv", "linear"} for name in ("spatial_shift", "shift_conv", "pdp")}
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
    seen, new = ((part.images[:400].float() / 255 - mean) / std for part in (data().train, data().test))
    executor = freeze(model, seen)
    expected = logits(model, new)
    found = executor.run(new, Implementation.REFERENCE)
    # Activations have 8 bits, and an error grows a little from layer to layer.
    assert ((found - expected).norm() / expected.norm()).item() < 0.05
    assert (found.argmax(dim=1) == expected.argmax(dim=1)).double().mean() > 0.97
    if available_isas():
        assert torch.equal(executor.run(new, Implementation.COMPILED), found)
    reloaded = network(name, seed=1)
    reloaded.load_state_dict(checkpoint.network_state)
    for copied in (freeze(reloaded, seen), pickle.loads(pickle.dumps(executor))):  # noqa: S301 - our own bytes
        assert torch.equal(copied.run(new[:20], Implementation.REFERENCE), found[:20])
