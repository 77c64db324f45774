"""The steps of a plan: the reference against loops over numbers, the compiled library against the reference."""

from __future__ import annotations

import gc
import itertools
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.errors import KernelError
from dsnn_hpo.kernels import available_isas, pack
from dsnn_hpo.kernels._arena import arena_of, sources_of
from dsnn_hpo.kernels._library import library, set_isa
from dsnn_hpo.kernels.compiled_plan import CompiledPlan
from dsnn_hpo.kernels.plan import (
    Activation,
    Clamp,
    Convolve,
    Copy,
    Dequantise,
    MaxPool,
    MeanPool,
    Plan,
    Pointwise,
    Quantise,
    Residual,
    ShiftChannels,
    Slice,
    run_reference,
)
from dsnn_hpo.kernels.plan_weight import DenseWeight

compiled = pytest.mark.skipif(not available_isas(), reason="the compiled kernels are not built")
SHAPE = (3, 4, 5)
F32 = np.float32


def single(*values):
    return torch.tensor(values, dtype=torch.float32)


@pytest.fixture(autouse=True)
def _isa_put_back():
    before = library().dsnn_isa().decode() if available_isas() else None
    yield
    if before is not None:
        set_isa(library(), before)


def quantise(zero):
    return Quantise("input", Slice(0, 0, 3), 10.0, 0.25, Clamp(-zero, 255 - zero))


def plan_of(step, *, zero=128, out=(3, 4, 5), zero_out=0):
    """Returns a plan that quantises to activation 0, does ``step`` into activation 1 and gives its integers."""
    activations = (Activation(*SHAPE, 0.1, zero), Activation(*out, 1.0, zero_out))
    whole = Slice(1, 0, out[0])
    n_outputs = out[0] * out[1] * out[2]
    return Plan(SHAPE, n_outputs, activations, (quantise(zero), step, Dequantise("output", whole, 1.0)))


def quantised(x, zero=128):
    """Returns ``q - z`` of the first step, int, by numpy: rint rounds halves to even."""
    y = x.numpy() * F32(10.0) + F32(0.25)
    return np.rint(np.clip(y, F32(-zero), F32(255 - zero))).astype(int)


def rounded(y, clamp):
    assert isinstance(y, F32)
    return int(np.rint(min(max(y, F32(clamp.lowest)), F32(clamp.highest))))


def samples(n=3, seed=0):
    torch.manual_seed(seed)
    return torch.randn(n, *SHAPE) * 6


def check(plan, x, expected):
    """Compares the reference with integers of shape (n, c, h, w), and the library with the reference."""
    found = run_reference(plan, x)
    assert np.array_equal(found.numpy().reshape(expected.shape), expected)
    for isa in available_isas():
        set_isa(library(), isa)
        assert torch.equal(CompiledPlan(plan)(x), found), isa


@pytest.mark.parametrize("zero", [0, 128])
def test_input_is_rounded_halves_to_even_and_limited(zero):
    x = samples()
    x[0, 0, 0] = torch.tensor([-0.025, 0.025, 0.125, 1e30, -1e30])
    steps = (quantise(zero), Dequantise("output", Slice(0, 0, 3), 1.0))
    check(Plan(SHAPE, 60, (Activation(*SHAPE, 0.1, zero),), steps), x, quantised(x, zero))


CONVOLUTIONS = {
    "one tap": ((7, 3, 1, 1), {}),
    "padding and stride": ((5, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0, 2, 1)}),
    "dilation": ((17, 3, 2, 2), {"dilation": (3, 2), "padding": (0, 1, 1, 0)}),
    "depthwise": ((3, 1, 3, 3), {"padding": (1, 1, 1, 1), "groups": 3}),
    "the whole input": ((4, 3, 4, 5), {}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("kind", ["shift", "wide shift", "dense"])
def test_convolution(name, kind):
    shape, options = CONVOLUTIONS[name]
    groups = options.get("groups", 1)
    geometry = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)} | options
    geometry.pop("groups", None)
    torch.manual_seed(1)
    if kind == "dense":
        weight = DenseWeight(torch.randint(-127, 128, shape, dtype=torch.int8), groups)
    else:
        exponents = torch.randint(0, 7 if kind == "shift" else 31, shape)
        weight = pack(2.0**exponents * torch.randn(shape).sign(), groups=groups)
    integers = weight.integers().numpy()
    x = samples()
    q = quantised(x)
    pad, (by_y, by_x), (step_y, step_x) = geometry["padding"], geometry["stride"], geometry["dilation"]
    padded = np.pad(q, ((0, 0), (0, 0), (pad[0], pad[2]), (pad[1], pad[3])))
    height = (padded.shape[2] - step_y * (shape[2] - 1) - 1) // by_y + 1
    width = (padded.shape[3] - step_x * (shape[3] - 1) - 1) // by_x + 1
    scale, bias, clamp = torch.rand(shape[0]) / float(np.abs(integers).max()), torch.randn(shape[0]), Clamp(-5, 200)
    step = Convolve("conv", Slice(0, 0, 3), Slice(1, 0, shape[0]), weight, *geometry.values(), scale, bias, None, clamp)
    expected = np.empty((len(x), shape[0], height, width), dtype=int)
    for i, n, y, column in np.ndindex(*expected.shape):
        first = n if groups > 1 else 0
        window = padded[
            i,
            first : first + shape[1],
            y * by_y : y * by_y + step_y * (shape[2] - 1) + 1 : step_y,
            column * by_x : column * by_x + step_x * (shape[3] - 1) + 1 : step_x,
        ]
        total = sum(int(a) * int(b) for a, b in zip(window.flat, integers[n].flat, strict=True))
        expected[i, n, y, column] = rounded(F32(total) * scale[n].numpy() + bias[n].numpy(), clamp)
    check(plan_of(step, out=(shape[0], height, width), zero_out=5), x, expected)


@pytest.mark.parametrize("with_residual", [False, True])
def test_pointwise_and_residual(with_residual):
    x = samples()
    q = quantised(x)
    scale, bias, clamp = single(0.3, -0.07, 1.1), single(0.5, -2.0, 30.0), Clamp(-20, 90)
    residual = Residual(Slice(0, 0, 3), 0.37) if with_residual else None
    step = Pointwise("sum", Slice(0, 0, 3), Slice(1, 0, 3), scale, bias, residual, clamp)
    expected = np.empty_like(q)
    for index in np.ndindex(*q.shape):
        y = F32(q[index]) * scale[index[1]].numpy() + bias[index[1]].numpy()
        expected[index] = rounded(y + F32(q[index]) * F32(0.37) if with_residual else y, clamp)
    check(plan_of(step, zero_out=20), x, expected)


@pytest.mark.parametrize("mean", [False, True])
def test_pooling(mean):
    x = samples()
    q = quantised(x)
    rows, columns = ((0, 1), (0, 4), (3, 4)), ((0, 2), (1, 5))
    clamp, places = Clamp(-50, 60), (Slice(0, 0, 3), Slice(1, 0, 3))
    scale = single(1.0, 0.5, 0.25, 0.1, 0.7, -0.3).view(3, 2)
    step = (
        MeanPool("pool", *places, rows, columns, scale, 0.5, clamp) if mean else MaxPool("pool", *places, rows, columns)
    )
    expected = np.empty((len(x), 3, 3, 2), dtype=int)
    for i, c, y, column in np.ndindex(*expected.shape):
        window = q[i, c, slice(*rows[y]), slice(*columns[column])]
        value = rounded(F32(window.sum()) * scale[y, column].numpy() + F32(0.5), clamp)
        expected[i, c, y, column] = value if mean else window.max()
    check(plan_of(step, out=(3, 3, 2), zero_out=128), x, expected)


def test_copy():
    x = samples()
    step = Copy("copy", Slice(0, 0, 3), Slice(1, 2, 4), (1, 0, 1), (1, 2, 0), (2, 2, 2), (2, 3))
    expected = np.zeros((len(x), 7, 5, 3), dtype=int)
    expected[:, 3:5, 2:4, 0:2] = quantised(x)[:, 1:3, 0:4:2, 1:5:3]
    # What the copy does not write, empty windows make zero.
    begin = (0, 0, 0)
    fill = [
        Copy("zero", Slice(0, 0, n), Slice(1, first, n), begin, begin, (n, 0, 0), (1, 1))
        for first, n in ((0, 2), (6, 1))
    ]
    plan = plan_of(step, out=(7, 5, 3), zero_out=128)
    plan = Plan(SHAPE, 105, plan.activations, (plan.steps[0], step, *fill, plan.steps[2]))
    check(plan, x, expected)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.data())
def test_shifted_channels(data):
    counts = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    moves = tuple((n, data.draw(st.integers(-7, 7)), data.draw(st.integers(-7, 7))) for n in counts)
    channels, zero = sum(counts), data.draw(st.sampled_from([0, 128]))
    activations = tuple(Activation(channels, height, width, 0.1, zero) for _ in range(2))
    source, target = Slice(0, 0, channels), Slice(1, 0, channels)
    steps = (
        Quantise("input", source, 10.0, 0.25, Clamp(-zero, 255 - zero)),
        ShiftChannels("shift", source, target, moves),
        Dequantise("output", target, 1.0),
    )
    x = torch.randn(3, channels, height, width) * 6
    q = quantised(x, zero)
    expected = np.zeros_like(q)
    directions = [move[1:] for move in moves for _ in range(move[0])]
    for index in np.ndindex(*q.shape):
        image, c, y, column = index
        y, column = y + directions[c][0], column + directions[c][1]
        if 0 <= y < height and 0 <= column < width:
            expected[index] = q[image, c, y, column]
    check(Plan((channels, height, width), channels * height * width, activations, steps), x, expected)


def test_a_float_output_is_not_rounded():
    weight = pack(torch.tensor([[1.0, -2.0, 4.0]]).view(1, 3, 1, 1).expand(2, 3, 4, 5).contiguous())
    scale, bias = single(0.3, 1e-7), single(0.1, 3.0)
    geometry = ((1, 1), (0, 0, 0, 0), (1, 1))
    step = Convolve("last", Slice(0, 0, 3), None, weight, *geometry, scale, bias, None, Clamp(0, 0))
    x = samples()
    totals = (quantised(x) * np.array([1, -2, 4])[:, None, None]).sum((1, 2, 3)).astype(F32)
    expected = totals[:, None] * scale.numpy() + bias.numpy()
    check(Plan(SHAPE, 2, (Activation(*SHAPE, 0.1, 128),), (quantise(128), step)), x, expected)


def chain(n_steps, choose):
    """Returns a plan of pointwise steps, each on earlier activations that ``choose`` picks."""
    steps = [Quantise("input", Slice(0, 0, 3), 1.0, 0.0, Clamp(0, 255))]
    sizes = [SHAPE]
    for i in range(1, n_steps + 1):
        source, other = (choose(i) for _ in range(2))
        residual = Residual(Slice(other, 0, 3), 0.25)
        steps.append(
            Pointwise(
                str(i), Slice(source, 0, 3), Slice(i, 0, 3), torch.ones(3) / 2, torch.ones(3), residual, Clamp(0, 255)
            )
        )
        sizes.append(SHAPE)
    steps.append(Dequantise("output", Slice(n_steps, 0, 3), 1.0))
    return Plan(SHAPE, 60, tuple(Activation(*size, 1.0, 0) for size in sizes), tuple(steps))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.data())
def test_activations_in_use_together_never_share_memory(data):
    plan = chain(data.draw(st.integers(1, 8)), lambda i: data.draw(st.integers(0, i - 1)))
    arena = arena_of(plan)
    for (i, a), (j, b) in itertools.combinations(enumerate(arena.activations), 2):
        uses = [
            {
                n
                for n, step in enumerate(plan.steps)
                if index in {s.activation for s in (*sources_of(step), getattr(step, "target", None)) if s}
            }
            for index in (i, j)
        ]
        together = min(uses[0]) <= max(uses[1]) and min(uses[1]) <= max(uses[0])
        if together:
            assert a.offset + a.image_bytes <= b.offset or b.offset + b.image_bytes <= a.offset
    assert arena.n_bytes <= sum(a.image_bytes for a in arena.activations)
    x = samples().abs()
    if available_isas():
        assert torch.equal(CompiledPlan(plan)(x), run_reference(plan, x))


def test_a_long_chain_needs_the_memory_of_two_activations():
    arena = arena_of(chain(20, lambda i: i - 1))
    assert arena.n_bytes == 2 * arena.activations[0].image_bytes


@compiled
def test_one_plan_serves_several_threads():
    plan = chain(6, lambda i: i - 1)
    run = CompiledPlan(plan)
    inputs = [samples(n, seed=n).abs() for n in range(1, 40)]
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(run, inputs))
    assert all(torch.equal(y, run_reference(plan, x)) for x, y in zip(inputs, outputs, strict=True))


@compiled
def test_a_plan_is_freed():
    run = CompiledPlan(chain(1, lambda i: 0))
    run(samples())
    gone = weakref.ref(run)
    del run
    gc.collect()
    assert gone() is None


def test_without_the_library_a_compiled_plan_says_how_to_build_it(monkeypatch):
    monkeypatch.setattr("dsnn_hpo.kernels._library.library", lambda: None)
    with pytest.raises(KernelError, match="not built"):
        CompiledPlan(chain(1, lambda i: 0))


def test_padding_channels_of_what_several_steps_write_are_zero():
    # Codes without a zero hold 1 where channels are only padding.
    weight = pack(torch.ones(5, 6, 1, 1))
    parts = [Quantise("input", Slice(0, first, 3), 10.0, 0.25, Clamp(0, 255)) for first in (0, 3)]
    ones, whole = single(*[1.0] * 5), Slice(1, 0, 5)
    geometry = ((1, 1), (0, 0, 0, 0), (1, 1))
    sums = Convolve("sums", Slice(0, 0, 6), whole, weight, *geometry, ones / 8, 0 * ones, None, Clamp(0, 255))
    activations = (Activation(6, 4, 5, 0.1, 0), Activation(5, 4, 5, 1.0, 0))
    plan = Plan(SHAPE, 100, activations, (*parts, sums, Dequantise("output", whole, 1.0)))
    x = samples()
    expected = np.rint(quantised(x, 0).sum(1, keepdims=True) * 2 / 8).clip(0, 255).repeat(5, 1)
    check(plan, x, expected)


@compiled
def test_the_output_does_not_follow_torch_s_defaults():
    plan = plan_of(MaxPool("pool", Slice(0, 0, 3), Slice(1, 0, 3), ((0, 2),) * 4, ((0, 2),) * 5), zero=0)
    x = samples()
    expected = run_reference(plan, x)
    with torch.device("meta"):
        assert torch.equal(CompiledPlan(plan)(x), expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(CompiledPlan(plan)(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(CompiledPlan(plan)(torch._neg_view(-x)), expected)
