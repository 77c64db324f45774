"""Adders in a plan: the reference against loops over numbers, the compiled library against the reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.kernels import available_isas
from dsnn_hpo.kernels._library import library, set_isa
from dsnn_hpo.kernels.compiled_plan import CompiledPlan
from dsnn_hpo.kernels.plan import (
    Activation,
    Clamp,
    Convolve,
    Dequantise,
    Plan,
    Quantise,
    Residual,
    Slice,
    run_reference,
)
from dsnn_hpo.kernels.plan_weight import MAX_ADDER_COLUMNS, MAX_ADDER_VALUE, AdderWeight

F32 = np.float32
compiled = pytest.mark.skipif(not available_isas(), reason="the compiled kernels are not built")


@dataclass(frozen=True)
class Case:
    """A convolution by an adder's weight, and what surrounds it."""

    operation: str = "distance"
    groups: int = 1
    group_channels: int = 3
    group_rows: int = 5
    size: tuple[int, int] = (4, 5)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: tuple[int, int] = (1, 1)
    zero: int = 128
    has_residual: bool = False
    to_float: bool = False
    n_images: int = 2
    n_threads: int = 1
    seed: int = 0

    @property
    def out_size(self):
        """Returns height and width of the result."""
        pairs = zip(self.size, self.kernel, self.stride, self.dilation, self.padding[:2], self.padding[2:], strict=True)
        return tuple((n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, d, a, b in pairs)


def plan_of(case):
    torch.manual_seed(case.seed)
    channels, rows = case.groups * case.group_channels, case.groups * case.group_rows
    # Far beyond the activations' range, too.
    spread = 10.0 ** (torch.rand(rows, 1, 1, 1) * 4)
    values = (torch.randn(rows, case.group_channels, *case.kernel) * spread).clamp(-32000, 32000).to(torch.int16)
    weight = AdderWeight(values, case.groups, case.operation)
    scale = (torch.rand(rows) - 0.5) / max(float(values.int().abs().flatten(1).sum(1).max()), 1.0) * 300
    out = (rows, *case.out_size)
    activations = (Activation(channels, *case.size, 0.1, case.zero), Activation(*out, 1.0, 100))
    geometry = (case.stride, case.padding, case.dilation)
    residual = Residual(Slice(0, 0, channels), 0.37) if case.has_residual else None
    target, clamp = None if case.to_float else Slice(1, 0, rows), Clamp(-90, 130)
    quantise = Quantise("input", Slice(0, 0, channels), 10.0, 0.25, Clamp(-case.zero, 255 - case.zero))
    step = Convolve(
        "adder", Slice(0, 0, channels), target, weight, *geometry, scale, torch.randn(rows), residual, clamp
    )
    input_shape = (channels, *case.size)
    if case.to_float:
        return Plan(input_shape, rows, activations[:1], (quantise, step))
    return Plan(
        input_shape, int(np.prod(out)), activations, (quantise, step, Dequantise("output", Slice(1, 0, rows), 1.0))
    )


def samples(case):
    torch.manual_seed(case.seed + 1)
    return torch.randn(case.n_images, case.groups * case.group_channels, *case.size) * 8


def centred(case, x):
    y = np.clip(x.numpy() * F32(10.0) + F32(0.25), F32(-case.zero), F32(255 - case.zero))
    return np.rint(y).astype(np.int64)


def looped(case, plan, x):
    """Returns the output by the definition: loops over rows and taps."""
    q, step = centred(case, x), plan.steps[1]
    top, left, bottom, right = case.padding
    padded = np.pad(q, ((0, 0), (0, 0), (top, bottom), (left, right)))
    values = step.weight.values.numpy().astype(np.int64)
    height, width = case.out_size
    sums = np.zeros((len(q), len(values), height, width), dtype=np.int64)
    for n, i, j, c in np.ndindex(len(values), *case.kernel, case.group_channels):
        y, column = i * case.dilation[0], j * case.dilation[1]
        a = padded[
            :,
            n // case.group_rows * case.group_channels + c,
            y : y + (height - 1) * case.stride[0] + 1 : case.stride[0],
            column : column + (width - 1) * case.stride[1] + 1 : case.stride[1],
        ]
        w = values[n, c, i, j]
        if case.operation == "distance":
            sums[:, n] -= np.abs(a - w)
        else:
            sums[:, n] += 2 * np.sign(a) * np.sign(w) * np.minimum(np.abs(a), np.abs(w))
    y = sums.astype(F32) * step.scale.numpy()[:, None, None] + step.bias.numpy()[:, None, None]
    if case.to_float:
        return y.reshape(len(q), -1)
    if case.has_residual:
        y = y + q.astype(F32) * F32(0.37)
    return np.rint(np.clip(y, F32(-90), F32(130))).reshape(len(q), -1)


def check(case):
    plan, x = plan_of(case), samples(case)
    expected = looped(case, plan, x)
    found = run_reference(plan, x)
    assert np.array_equal(found.numpy(), expected)
    if not available_isas():
        return
    before, threads = library().dsnn_isa().decode(), torch.get_num_threads()
    try:
        torch.set_num_threads(case.n_threads)
        for isa in available_isas():
            set_isa(library(), isa)
            assert torch.equal(CompiledPlan(plan)(x), found), isa
    finally:
        set_isa(library(), before)
        torch.set_num_threads(threads)


CASES = {
    "three channels": Case(),
    "minimum": Case(operation="minimum"),
    "unsigned, stride and dilation": Case(zero=0, stride=(2, 1), dilation=(2, 2), padding=(2, 0, 1, 3)),
    "more than a block of rows": Case(group_channels=8, group_rows=37, size=(6, 7)),
    "odd number of quads, groups": Case(groups=3, group_channels=12, group_rows=5, kernel=(2, 3)),
    "minimum, groups": Case(operation="minimum", groups=2, group_channels=4, group_rows=18, zero=0),
    "depthwise": Case(groups=19, group_channels=1, group_rows=1),
    "minimum, depthwise": Case(operation="minimum", groups=7, group_channels=1, group_rows=1, zero=200),
    "linear": Case(group_channels=70, group_rows=10, size=(1, 1), kernel=(1, 1), padding=(0, 0, 0, 0), to_float=True),
    "minimum, whole input": Case(operation="minimum", kernel=(4, 5), padding=(0, 0, 0, 0), to_float=True),
    "residual": Case(group_channels=4, group_rows=4, has_residual=True),
    "two threads": Case(group_channels=16, group_rows=16, size=(32, 32), n_threads=2, n_images=1),
    "two threads, many images": Case(group_channels=16, group_rows=16, size=(16, 16), n_threads=2, n_images=9),
}


@pytest.mark.parametrize("name", CASES)
def test_adder(name):
    check(CASES[name])


@st.composite
def cases(draw):
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(4))
    least = tuple(
        max(d * (k - 1) + 1 - a - b, 1) for k, d, a, b in zip(kernel, dilation, padding[:2], padding[2:], strict=True)
    )
    size = (draw(st.integers(least[0], least[0] + 6)), draw(st.integers(least[1], least[1] + 6)))
    groups, is_depthwise = draw(st.integers(1, 4)), draw(st.booleans())
    channels = draw(st.integers(1, 21)) if groups == 1 else 4 * draw(st.integers(1, 3))
    case = Case(
        operation=draw(st.sampled_from(["distance", "minimum"])),
        groups=groups,
        group_channels=channels,
        group_rows=draw(st.integers(1, 35)),
        size=size,
        kernel=kernel,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=padding,
        dilation=dilation,
        zero=draw(st.sampled_from([0, 128, 255, 77])),
        n_images=draw(st.integers(1, 4)),
        n_threads=draw(st.integers(1, 2)),
        seed=draw(st.integers(0, 99)),
    )
    if is_depthwise:
        case = replace(case, groups=draw(st.integers(2, 40)), group_channels=1, group_rows=1)
    return case


@settings(derandomize=True, deadline=None, max_examples=60)
@given(cases())
def test_any_adder(case):
    check(case)


@compiled
def test_quads_that_reach_into_another_group_are_refused():
    plan = plan_of(Case(groups=2, group_channels=3))
    run_reference(plan, samples(Case(groups=2, group_channels=3)))
    with pytest.raises(ValueError, match="multiple of 4 channels a group, not 3"):
        CompiledPlan(plan)


@compiled
def test_quads_that_reach_into_other_channels_are_refused():
    plan = plan_of(Case(group_channels=6))
    step = replace(plan.steps[1], source=Slice(0, 0, 3), weight=AdderWeight(plan.steps[1].weight.values[:, :3]))
    with pytest.raises(ValueError, match="multiple of 4 channels a group, not 3"):
        CompiledPlan(replace(plan, steps=(plan.steps[0], step, plan.steps[2])))


def test_weights_whose_sums_could_leave_32_bits_are_refused():
    with pytest.raises(TypeError, match=r"must be int16, not torch\.int32"):
        AdderWeight(torch.zeros(1, 1, 1, 1, dtype=torch.int32))
    with pytest.raises(ValueError, match=f"at most {MAX_ADDER_VALUE}"):
        AdderWeight(torch.full((1, 1, 1, 1), MAX_ADDER_VALUE + 1, dtype=torch.int16))
    with pytest.raises(ValueError, match=f"at most {MAX_ADDER_COLUMNS}"):
        AdderWeight(torch.zeros(1, MAX_ADDER_COLUMNS + 1, 1, 1, dtype=torch.int16))


def test_the_largest_sum_fits():
    values = torch.full((2, MAX_ADDER_COLUMNS, 1, 1), -MAX_ADDER_VALUE, dtype=torch.int16)
    values[1] = MAX_ADDER_VALUE
    for operation in ("distance", "minimum"):
        case = Case(operation, group_channels=MAX_ADDER_COLUMNS, group_rows=2, size=(1, 1), kernel=(1, 1), n_images=1)
        case = replace(case, padding=(0, 0, 0, 0), to_float=True, zero=255)
        plan = plan_of(case)
        step = replace(plan.steps[1], weight=AdderWeight(values, 1, operation))
        plan = replace(plan, steps=(plan.steps[0], step))
        x = torch.full((1, MAX_ADDER_COLUMNS, 1, 1), -1e9)
        found = run_reference(plan, x)
        exact = [-MAX_ADDER_COLUMNS * abs(-255 - w) for w in (-MAX_ADDER_VALUE, MAX_ADDER_VALUE)]
        if operation == "minimum":
            exact = [-2 * MAX_ADDER_COLUMNS * 255 * int(np.sign(w)) for w in (-MAX_ADDER_VALUE, MAX_ADDER_VALUE)]
        assert np.array_equal(found.numpy()[0], np.array(exact, F32) * step.scale.numpy() + step.bias.numpy())
        if available_isas():
            assert torch.equal(CompiledPlan(plan)(x), found)
