"""Networks of users: what freezes, how it is fused, and what is refused."""

from __future__ import annotations

import collections
import operator
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.errors import FreezeError, InputError
from dsnn_hpo.executor import Executor, freeze
from dsnn_hpo.kernels import Implementation, available_isas
from dsnn_hpo.operators import ShiftConfig, convert_, matching


class Functional(nn.Module):
    """All functional forms in one."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding="same", dilation=2)
        self.conv2 = nn.Conv2d(6, 8, (3, 2), stride=(1, 2), padding=(1, 1), groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.skip = nn.Conv2d(6, 8, 1, stride=(1, 2))
        self.wide = nn.Conv2d(8, 24, 3, padding=1, groups=8)
        self.linear = nn.Linear(32 * 4 * 3, 11)
        self.last = nn.Linear(11, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        y = torch.relu(self.norm(self.conv2(x)) + self.skip(x))
        z = torch.cat([self.wide(y).relu(), y], 1)
        z = F.max_pool2d(z, 2, padding=1, ceil_mode=True)
        z = F.dropout(z, 0.5, self.training)
        z = z.view(z.size(0), -1)
        return self.last(torch.clamp(self.linear(z), -1.0, 2.0))


class PreActivation(nn.Module):
    """Normalisation before the convolution, and a sum that no convolution can take in."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.conv = nn.Conv2d(5, 5, 3, padding=1)
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        x = self.stem(x)
        y = x + self.conv(F.relu(self.norm(x)))
        y = F.avg_pool2d(y, 3, stride=2, padding=1) + F.max_pool2d(y, 3, stride=2, padding=1)
        y = y + y
        return self.linear(y.mean((2, 3)))


class Dense(nn.Module):
    """Concatenations of concatenations, slices, padding, and a pooling that does not divide."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(7, 5, 3, padding=1)
        self.pad = nn.ZeroPad2d((1, 0, 2, 1))
        self.pool = nn.AdaptiveAvgPool2d((3, 2))
        self.linear = nn.Linear((12 + 2) * 6, 3)

    def forward(self, x):
        y = torch.cat([x, self.conv1(x)], dim=1)
        y = torch.cat([y, F.relu6(self.conv2(y))], dim=-3)
        y = torch.cat([self.pad(y), F.pad(y[:, 2:3, ::1, :], (1, 0, 2, 1, 1, 0))], 1)
        return self.linear(torch.flatten(self.pool(y), 1))


class NoLastLayer(nn.Module):
    """The output is a pooled activation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return F.adaptive_avg_pool2d(F.hardtanh(self.conv(x), -0.5, 3.0), (1, 1)).squeeze(-1).squeeze(-1)


NETWORKS = {
    "functional": (Functional, (3, 6, 9)),
    "pre-activation": (PreActivation, (2, 7, 6)),
    "dense": (Dense, (3, 7, 8)),
    "no last layer": (NoLastLayer, (3, 6, 6)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shift", [False, True])
def test_user_networks_run_the_same_everywhere(name, shift, prepared, same_everywhere, is_close):
    torch.manual_seed(3)
    make, shape = NETWORKS[name]
    x = torch.randn(21, *shape)
    network = prepared(make(), x, shift=shift, weight_bits=5)
    executor = freeze(network, x)
    same_everywhere(executor, x)
    assert is_close(network, executor, x)


def step_kinds(executor):
    return collections.Counter(type(step).__name__ for step in executor.plan.steps)


def test_normalisation_relu_and_sums_go_into_convolutions(prepared):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.na, self.nb, self.relu = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(x + self.nb(self.b(self.relu(self.na(self.a(x))))))

    x = torch.randn(8, 4, 5, 5)
    network = nn.Sequential(Block(), nn.Dropout(), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    executor = freeze(prepared(network, x), x)
    assert step_kinds(executor) == {"Quantise": 1, "Convolve": 5, "MeanPool": 1}
    assert [step.residual is not None for step in executor.plan.steps[1:5]] == [False, True, False, True]


def test_concatenated_parts_are_written_in_place(prepared):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 6, 3, padding=1)
            self.linear = nn.Linear(11 * 16, 3)

        def forward(self, x):
            return self.linear(torch.cat([self.a(x).relu(), self.b(x).relu()], 1).flatten(1))

    x = torch.randn(8, 3, 4, 4)
    executor = freeze(prepared(Branches(), x), x)
    assert step_kinds(executor) == {"Quantise": 1, "Convolve": 3}
    assert len({step.target.activation for step in executor.plan.steps[1:3]}) == 1


def test_what_the_output_does_not_need_is_left_out(prepared):
    class Wasteful(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(12, 3), nn.Linear(12, 3)

        def forward(self, x):
            x = x.flatten(1)
            self.unused(x)
            return self.used(x)

    x = torch.randn(4, 3, 2, 2)
    assert step_kinds(freeze(prepared(Wasteful(), x), x)) == {"Quantise": 1, "Convolve": 1}


def test_a_vector_input_takes_no_more_than_its_values(prepared):
    x = torch.randn(4, 1, 6, 6)
    executor = freeze(prepared(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), x, weight_bits=4), x)
    assert executor.plan.activations[0].channels == 36
    assert executor.plan.n_weight_bytes <= 36 * 16 // 2 + 64


def simple(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 3)

    def forward(self, x):
        return self.linear(x.flatten(1) if x.sum() > 0 else -x.flatten(1))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 3, 1), nn.Linear(12, 3)

    def forward(self, x):
        x = self.conv(x)
        return self.linear((F.relu(x, inplace=True) + x).flatten(1))


class InPlaceOnAView(nn.Module):
    """Another name of a value, taken by ``view``, is used after the value was changed in place."""

    def __init__(self, view, change):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 3, 1), nn.Linear(12, 3)
        self.view, self.change = view, change

    def forward(self, x):
        x = self.conv(x)
        y = self.view(x)
        self.change(x)
        return self.linear(y.flatten(1))


class InPlaceThroughAView(InPlaceOnAView):
    """A value is used after another name of it was changed in place."""

    def forward(self, x):
        x = self.conv(x)
        self.change(self.view(x))
        return self.linear(x.flatten(1))


VIEWS = {
    "flatten": nn.Flatten(),
    "slice": lambda x: x[:, :],
    "identity": nn.Identity(),
    "dropout": nn.Dropout(),
    "reshape": lambda x: x.reshape(x.size(0), 3, 2, 2),
    "view of a view": lambda x: x.contiguous().view(x.size(0), -1),
}
CHANGES = {
    "relu_": lambda x: x.relu_(),
    "module": nn.ReLU(inplace=True),
    "function": lambda x: F.relu_(x),
    "positional": lambda x: F.relu(x, True),
    "+=": lambda x: operator.iadd(x, x),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", [InPlaceOnAView, InPlaceThroughAView])
def test_a_change_in_place_under_another_name_is_refused(kind, view, change):
    network = kind(VIEWS[view], CHANGES[change])
    with pytest.raises(FreezeError, match=r"in place, which .* uses afterwards"):
        freeze(network, torch.randn(4, 3, 2, 2))


def test_a_copy_is_not_changed_in_place(prepared, same_everywhere, is_close):
    x = torch.randn(16, 3, 2, 2)
    network = prepared(InPlaceOnAView(lambda x: x.clone(), CHANGES["relu_"]), x)
    executor = freeze(network, x)
    same_everywhere(executor, x)
    assert is_close(network, executor, x)


def test_freezing_leaves_the_calibration_samples_as_they_were():
    x = torch.randn(4, 3, 2, 2)
    before = x.clone()
    freeze(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 3)), x)
    assert torch.equal(x, before)


def test_freezing_does_not_follow_torch_s_defaults(prepared):
    x = torch.randn(8, 3, 6, 9)
    network = prepared(Functional(), x)
    expected = freeze(network, x)(x)
    with torch.device("meta"):
        assert torch.equal(freeze(network, x)(x), expected)
    with torch.inference_mode():
        assert torch.equal(freeze(network, x.clone())(x), expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(freeze(network, x)(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)


class TensorBound(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("bound", torch.zeros(1, 3, 1, 1))
        self.linear = nn.Linear(12, 3)

    def forward(self, x):
        return self.linear(torch.clamp(x, min=self.bound).flatten(1))


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x.flatten(1), x


class Image(nn.Module):
    def forward(self, x):
        return x.relu()


REFUSED = {
    "an unknown module": (simple(nn.GELU()), "module '0' \\(GELU\\) cannot be frozen; supported are Conv2d"),
    "padding that is not zero": (
        simple(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")),
        "padding_mode is 'reflect'",
    ),
    "a dilated pooling": (simple(nn.MaxPool2d(1, dilation=2)), "dilation is 2"),
    "no statistics": (simple(nn.BatchNorm2d(3, track_running_stats=False)), "no running statistics"),
    "control flow": (Branching(), "torch.fx cannot trace"),
    "in place and used afterwards": (InPlace(), "in place.*uses afterwards"),
    "a tensor as bound": (TensorBound(), "operation 'clamp' .*bounds must be numbers"),
    "two outputs": (TwoOutputs(), "one tensor of logits"),
    "an image as output": (Image(), "logits \\(n, classes\\)"),
    "a linear layer on an image": (nn.Sequential(nn.Linear(2, 3), nn.Flatten()), "flatten it before"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_frozen_is_named(name):
    network, message = REFUSED[name]
    x = torch.randn(4, 3, 2, 2)
    network(x) if name != "control flow" else None
    with pytest.raises(FreezeError, match=message):
        freeze(network, x)


def test_weights_of_too_wide_a_range_are_named():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with torch.no_grad():
        network[1].weight[1, :2] = torch.tensor([1.0, 2.0**-60])
    network = convert_(network, matching("*", ShiftConfig(weight_bits=8)), from_trained=True)
    with pytest.raises(FreezeError, match=r"layer '1' cannot be packed.*row 1"):
        freeze(network, torch.randn(2, 3, 2, 2))


def test_groups_that_need_zeros_beside_all_exponents_are_named():
    conv = nn.Conv2d(6, 8, 1, groups=2)
    with torch.no_grad():
        conv.weight[0, :2] = torch.tensor([1.0, 2.0**-31]).view(2, 1, 1)
    network = nn.Sequential(conv, nn.Flatten(), nn.Linear(32, 3))
    network = convert_(network, matching("*", ShiftConfig(weight_bits=6)), from_trained=True)
    with pytest.raises(FreezeError, match=r"layer '0' cannot be packed.*groups of 3 channels, no multiple of 4"):
        freeze(network, torch.randn(2, 6, 2, 2))


def test_too_many_inputs_for_a_sum_of_32_bits_are_named():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2**16 + 4, 2))
    with pytest.raises(FreezeError, match=r"layer '1' has 65540 inputs"):
        freeze(network, torch.randn(2, 1, 1, 2**16 + 4))


def test_samples_that_the_network_cannot_take_are_named():
    with pytest.raises(FreezeError, match=r"fails on calibration samples of shape \(2, 4, 4\)"):
        freeze(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten()), torch.zeros(2, 2, 4, 4))


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (torch.zeros(2, 3, 2, 2, dtype=torch.float64), "float32"),
        (torch.zeros(3, 2, 2), "float32 tensor \\(n, c, h, w\\)"),
        (torch.zeros(0, 3, 2, 2), "at least one sample"),
        (torch.full((2, 3, 2, 2), float("nan")), "NaN"),
        ([1.0], "float32"),
    ],
)
def test_wrong_calibration_samples_are_named(calibration, message):
    with pytest.raises(InputError, match=message):
        freeze(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), calibration)


def test_values_that_overflow_on_the_samples_are_named():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        network[1].weight.fill_(1e38)
    with pytest.raises(InputError, match="NaN or infinite on the calibration samples"):
        freeze(network, torch.full((2, 3, 2, 2), 10.0))


def test_freezing_leaves_the_network_as_it_was(prepared):
    x = torch.randn(4, 3, 6, 9)
    network = prepared(Functional(), x)
    network.train()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    freeze(network, x)
    assert network.training
    assert not network.norm.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


IMPLEMENTATIONS = [Implementation.REFERENCE, *([Implementation.COMPILED] if available_isas() else [])]


@pytest.fixture
def executor(prepared) -> Executor:
    x = torch.randn(8, 3, 6, 9)
    return freeze(prepared(Functional(), x), x)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_wrong_inputs_are_named(executor, implementation):
    good = torch.randn(2, 3, 6, 9)
    for wrong, error, message in (
        (good.double(), TypeError, "float32 tensor, not torch.float64"),
        ([0.0], TypeError, "not list"),
        (good[:, :2], ValueError, "expected \\(n, 3, 6, 9\\)"),
        (good[0], ValueError, "expected \\(n, 3, 6, 9\\)"),
        (good.to("meta"), ValueError, "on meta"),
        (good.to_sparse(), ValueError, "dense"),
    ):
        with pytest.raises(error, match=message):
            executor.run(wrong, implementation)
    for value in (float("nan"), float("inf"), -float("inf")):
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            wrong = good.clone()
            wrong[1, 2, 5, 8] = value
            with pytest.raises(ValueError, match=r"x\[1, 2, 5, 8\] is"):
                executor.run(wrong, implementation)


def test_no_samples_give_no_logits(executor):
    for implementation in IMPLEMENTATIONS:
        assert executor.run(torch.empty(0, 3, 6, 9), implementation).shape == (0, 4)


def test_any_layout_of_the_input_gives_the_same(executor):
    x = torch.randn(5, 3, 6, 9)
    expected = executor(x)
    assert torch.equal(executor(x.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(executor(x.requires_grad_()), expected)
    assert torch.equal(executor(torch.cat([x, x])[::2]), executor(torch.cat([x, x])[::2].contiguous()))


def test_an_executor_can_be_pickled(executor):
    x = torch.randn(5, 3, 6, 9)
    assert torch.equal(pickle.loads(pickle.dumps(executor))(x), executor(x))  # noqa: S301 - our own bytes


def test_the_description_names_layers_shapes_bits_and_sums(executor):
    lines = repr(executor).splitlines()
    (row,) = [line for line in lines if line.startswith("conv1")]
    assert row.split()[1:3] == ["shift", "6x6x9"]
    assert row.split()[-1] == f"{6 * 6 * 9 * 3 * 9:,}"
    total = next(line for line in lines if line.startswith("total")).split()
    assert total[1] == f"{executor.plan.n_weight_bytes:,}"
