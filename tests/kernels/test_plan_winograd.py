"""The Winograd adder in a plan: the reference against its formula in integers, the compiled library against the reference."""

from __future__ import annotations

from dataclasses import dataclass

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
from dsnn_hpo.kernels.plan_weight import MAX_WINOGRAD_CHANNELS, MAX_WINOGRAD_VALUE, WinogradWeight

F32 = np.float32
INTO = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
STANDARD = ((1, 1, 1, 0), (0, 1, -1, -1))
BALANCED = ((-1, 1, 1, 0), (0, 1, -1, 1))


@dataclass(frozen=True)
class Case:
    """A Winograd adder, and what surrounds it."""

    groups: int = 1
    group_channels: int = 3
    group_rows: int = 5
    size: tuple[int, int] = (4, 5)
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    out: tuple[tuple[int, int, int, int], tuple[int, int, int, int]] = STANDARD
    zero: int = 128
    has_residual: bool = False
    n_images: int = 2
    n_threads: int = 1
    seed: int = 0

    @property
    def out_size(self):
        """Returns height and width of the result."""
        top, left, bottom, right = self.padding
        return self.size[0] + top + bottom - 2, self.size[1] + left + right - 2


def plan_of(case):
    torch.manual_seed(case.seed)
    channels, rows = case.groups * case.group_channels, case.groups * case.group_rows
    values = (torch.randn(rows, case.group_channels, 4, 4) * 300).clamp(-31000, 31000)
    values[0, 0, :2] = torch.tensor([MAX_WINOGRAD_VALUE, -MAX_WINOGRAD_VALUE, 0, 1])
    weight = WinogradWeight(values.to(torch.int16), case.out, case.groups)
    scale = (torch.rand(rows) - 0.5) / (case.group_channels * 30)
    out = (rows, *case.out_size)
    activations = (Activation(channels, *case.size, 0.1, case.zero), Activation(*out, 1.0, 100))
    residual = Residual(Slice(0, 0, channels), 0.37) if case.has_residual else None
    whole, target = Slice(0, 0, channels), Slice(1, 0, rows)
    quantise = Quantise("input", whole, 10.0, 0.25, Clamp(-case.zero, 255 - case.zero))
    geometry = ((1, 1), case.padding, (1, 1))
    step = Convolve("winograd", whole, target, weight, *geometry, scale, torch.randn(rows), residual, Clamp(-90, 130))
    steps = (quantise, step, Dequantise("output", target, 1.0))
    return Plan((channels, *case.size), int(np.prod(out)), activations, steps)


def samples(case):
    torch.manual_seed(case.seed + 1)
    return torch.randn(case.n_images, case.groups * case.group_channels, *case.size) * 8


def looped(case, plan, x):
    """Returns the output by the formula, tile by tile, in integers."""
    step = plan.steps[1]
    y = np.clip(x.numpy() * F32(10.0) + F32(0.25), F32(-case.zero), F32(255 - case.zero))
    q = np.rint(y).astype(np.int64)
    top, left, bottom, right = case.padding
    height, width = case.out_size
    padded = np.pad(q, ((0, 0), (0, 0), (top, bottom + 1), (left, right + 1)))
    weight, out = step.weight.values.numpy().astype(np.int64), np.array(case.out)
    sums = np.zeros((len(q), len(weight), height + 1, width + 1), dtype=np.int64)
    for image, n, i, j in np.ndindex(len(q), len(weight), (height + 1) // 2, (width + 1) // 2):
        first = n // case.group_rows * case.group_channels
        tiles = padded[image, first : first + case.group_channels, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
        distances = -np.abs(weight[n] - INTO @ tiles @ INTO.T).sum(0)
        sums[image, n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = out @ distances @ out.T
    y = sums[:, :, :height, :width].astype(F32) * step.scale.numpy()[:, None, None] + step.bias.numpy()[:, None, None]
    if case.has_residual:
        y = y + q.astype(F32) * F32(0.37)
    return np.rint(np.clip(y, F32(-90), F32(130))).reshape(len(q), -1)


def check(case):
    plan, x = plan_of(case), samples(case)
    found = run_reference(plan, x)
    assert np.array_equal(found.numpy(), looped(case, plan, x))
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
    "even and odd": Case(size=(6, 7), out=BALANCED, zero=0),
    "one output": Case(size=(3, 3), padding=(0, 0, 0, 0)),
    "more than a block of rows": Case(group_channels=8, group_rows=37, size=(9, 10), zero=77),
    "groups": Case(groups=3, group_channels=4, group_rows=5),
    "residual": Case(group_channels=5, group_rows=5, has_residual=True),
    "two threads": Case(group_channels=16, group_rows=16, size=(32, 32), n_threads=2, n_images=1),
    "two threads, many images": Case(group_channels=16, group_rows=16, size=(15, 15), n_threads=2, n_images=9),
}


@pytest.mark.parametrize("name", CASES)
def test_winograd_adder(name):
    check(CASES[name])


@st.composite
def cases(draw):
    padding = tuple(draw(st.integers(0, 2)) for _ in range(4))
    size = tuple(draw(st.integers(max(3 - a - b, 1), 9)) for a, b in zip(padding[:2], padding[2:], strict=True))
    groups = draw(st.integers(1, 3))
    return Case(
        groups=groups,
        group_channels=draw(st.integers(1, 11)) if groups == 1 else 4 * draw(st.integers(1, 2)),
        group_rows=draw(st.integers(1, 20)),
        size=size,
        padding=padding,
        out=draw(st.sampled_from([STANDARD, BALANCED])),
        zero=draw(st.sampled_from([0, 128, 255, 77])),
        n_images=draw(st.integers(1, 3)),
        n_threads=draw(st.integers(1, 2)),
        seed=draw(st.integers(0, 99)),
    )


@settings(derandomize=True, deadline=None, max_examples=30)
@given(cases())
def test_any_winograd_adder(case):
    check(case)


def test_terms_are_counted_by_tiles():
    plan = plan_of(Case(group_channels=3, group_rows=5, size=(4, 5)))
    assert plan.n_macs(plan.steps[1]) == 2 * 3 * 16 * 3 * 5


def test_weights_whose_sums_could_leave_their_bits_are_refused():
    zeros = torch.zeros(1, 1, 4, 4, dtype=torch.int16)
    with pytest.raises(TypeError, match=r"must be int16, not torch\.float32"):
        WinogradWeight(zeros.float(), STANDARD)
    with pytest.raises(ValueError, match=r"are \(n, c, 4, 4\), not \(1, 1, 3, 3\)"):
        WinogradWeight(zeros[..., :3, :3], STANDARD)
    with pytest.raises(ValueError, match=f"at most {MAX_WINOGRAD_VALUE}"):
        WinogradWeight(zeros + MAX_WINOGRAD_VALUE + 1, STANDARD)
    with pytest.raises(ValueError, match=f"at most {MAX_WINOGRAD_CHANNELS} channels"):
        WinogradWeight(zeros.expand(1, MAX_WINOGRAD_CHANNELS + 1, 4, 4), STANDARD)
    with pytest.raises(ValueError, match="no output transform"):
        WinogradWeight(zeros, ((1, 1, 1, 1), (0, 1, -1, -1)))


@pytest.mark.skipif(not available_isas(), reason="the compiled kernels are not built")
def test_quads_that_reach_into_another_group_are_refused():
    with pytest.raises(ValueError, match="multiple of 4 channels a group, not 3"):
        CompiledPlan(plan_of(Case(groups=2, group_channels=3)))
