"""Convolutions in integers equal the plain torch reference bit for bit, on every instruction set."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.library import opcheck
from torch.nn import functional as F

from dsnn_hpo.kernels import (
    Geometry,
    Implementation,
    Output8Bit,
    PackedWeight,
    Residual,
    conv2d_u8,
    conv2d_u8_reference,
    pack,
    use_implementation,
)

profile = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OUTPUTS = (None, Output8Bit(), Output8Bit(128, 0, 255), Output8Bit(10, 10, 200))


@dataclass(frozen=True)
class Case:
    x: torch.Tensor
    weight: PackedWeight
    affine: tuple[torch.Tensor, torch.Tensor]
    geometry: Geometry
    zero_point: int
    output: Output8Bit | None
    residual: Residual | None

    def compiled(self) -> torch.Tensor:
        options = {"zero_point": self.zero_point, "output": self.output, "residual": self.residual}
        return conv2d_u8(self.x, self.weight, self.affine, self.geometry, **options)

    def reference(self) -> torch.Tensor:
        options = {"zero_point": self.zero_point, "output": self.output, "residual": self.residual}
        integers, groups = self.weight.integers(), self.weight.groups
        return conv2d_u8_reference(self.x, integers, self.affine, self.geometry, groups=groups, **options)


def random_weight(generator: torch.Generator, shape: tuple[int, ...], bits: int, *, has_zero: bool) -> torch.Tensor:
    """Returns powers of two whose exponents take the whole range of the bits."""
    powers = torch.randint(0, 2 ** (bits - 1) - has_zero, shape, generator=generator)
    weight = torch.ldexp(torch.randint(0, 2, shape, generator=generator) * 2.0 - 1, powers)
    if has_zero:
        weight[torch.rand(shape, generator=generator) < 0.2] = 0.0
    return weight


@st.composite
def cases(draw: st.DrawFn, *, is_plain: bool = False) -> Case:
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    geometry = Geometry(draw(pair), draw(st.tuples(st.integers(0, 2), st.integers(0, 2))), draw(pair))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    groups, per_group, rows = draw(
        st.one_of(
            st.tuples(st.just(1), st.sampled_from([1, 3, 4, 8, 17]), st.sampled_from([1, 5, 16, 20, 33, 48, 64, 70])),
            st.tuples(st.sampled_from([2, 3]), st.sampled_from([1, 4, 5]), st.sampled_from([1, 2, 16, 17])),
            st.tuples(st.sampled_from([2, 16, 19, 40]), st.just(1), st.just(1)),
        )
    )
    n, height, width = draw(st.tuples(st.integers(1, 5), st.integers(5, 9), st.integers(5, 9)))
    # Without an output's format or a residual, and with sums that float64 holds exactly.
    bits, has_zero = draw(st.integers(2, 5 if is_plain else 6)), draw(st.booleans())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    n_rows = groups * rows
    weight = random_weight(generator, (n_rows, per_group, *kernel), bits, has_zero=has_zero)
    # Zeros and 255 alone reach the largest sums.
    saturating = draw(st.booleans())
    x = torch.randint(0, 2 if saturating else 256, (n, height, width, groups * per_group), generator=generator)
    x = (x * 255 if saturating else x).to(torch.uint8)
    spread = 2.0 ** (2 ** (bits - 1) - 2) * (per_group * kernel[0] * kernel[1]) ** 0.5
    scale = torch.rand(n_rows, generator=generator) * 2 / spread
    bias = torch.randn(n_rows, generator=generator) * 20
    residual = None
    if not is_plain and draw(st.booleans()):
        shape = (n, *geometry.output_size((height, width), kernel), n_rows)
        residual = Residual(torch.randint(0, 256, shape, generator=generator).to(torch.uint8), 0.37, 5)
    packed = pack(weight, bits, groups=groups)
    return Case(
        x,
        packed,
        (scale, bias),
        geometry,
        draw(st.sampled_from([0, 128, 7])),
        None if is_plain else draw(st.sampled_from(OUTPUTS)),
        residual,
    )


@profile
@given(case=cases(), n_threads=st.sampled_from([1, 2]))
def test_equals_the_reference_bit_for_bit(each_isa: str, case: Case, n_threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with use_implementation(Implementation.COMPILED):
            assert torch.equal(case.compiled(), case.reference())
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("n_images", [1, 2, 9])
def test_threads_share_large_work(each_isa: str, n_images: int) -> None:
    generator = torch.Generator().manual_seed(3)
    weight = pack(random_weight(generator, (72, 32, 3, 3), 4, has_zero=True), 4)
    x = torch.randint(0, 256, (n_images, 13, 11, 32), generator=generator).to(torch.uint8)
    case = Case(
        x, weight, (torch.full((72,), 1e-3), torch.zeros(72)), Geometry((1, 1), (1, 1)), 0, Output8Bit(128), None
    )
    before = torch.get_num_threads()
    results = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        results.append(case.compiled())
    torch.set_num_threads(before)
    assert all(torch.equal(result, case.reference()) for result in results)


@profile
@given(case=cases(is_plain=True))
def test_the_reference_is_the_convolution_of_floats(case: Case) -> None:
    scale, bias = (t.double() for t in case.affine)
    image = (case.x.double() - case.zero_point).permute(0, 3, 1, 2)
    g = case.geometry
    y = F.conv2d(image, case.weight.integers().double(), None, g.stride, g.padding, g.dilation, case.weight.groups)
    expected = y.permute(0, 2, 3, 1) * scale + bias
    assert torch.allclose(case.reference().double(), expected, rtol=1e-6, atol=1e-3)


def simple(**changes: object) -> dict[str, object]:
    arguments: dict[str, object] = {
        "x": torch.zeros(2, 6, 6, 4, dtype=torch.uint8),
        "weight": pack(torch.ones(8, 4, 3, 3)),
        "affine": (torch.ones(8), torch.zeros(8)),
    }
    return arguments | changes


@pytest.mark.parametrize("implementation", [Implementation.REFERENCE, Implementation.COMPILED])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": torch.zeros(2, 6, 6, 4)}, TypeError, "x must be torch.uint8, not torch.float32"),
        ({"x": torch.zeros(2, 6, 6, 5, dtype=torch.uint8)}, ValueError, r"x must be of shape \(any, any, any, 4\)"),
        ({"x": torch.zeros(6, 6, 4, dtype=torch.uint8)}, ValueError, "x must be of shape"),
        ({"x": torch.zeros(2, 4, 6, 6, dtype=torch.uint8).permute(0, 2, 3, 1)}, ValueError, "x must be contiguous"),
        ({"x": torch.zeros(2, 2, 2, 4, dtype=torch.uint8)}, ValueError, "too small for a kernel"),
        (
            {"x": torch.zeros(2, 6, 6, 4, dtype=torch.uint8, device="meta")},
            ValueError,
            "x is on meta and the weight on cpu",
        ),
        ({"weight": pack(torch.ones(8, 4))}, ValueError, "four dimensions"),
        ({"affine": (torch.ones(7), torch.zeros(8))}, ValueError, r"scale must be of shape \(8\), not \(7,\)"),
        ({"affine": (torch.ones(8), torch.zeros(8).double())}, TypeError, "bias must be torch.float32"),
        ({"zero_point": 256}, ValueError, "zero_point must be 0 to 255, not 256"),
        ({"affine": (torch.ones(8, requires_grad=True), torch.zeros(8))}, ValueError, "conv2d_u8 has no gradient"),
        ({"residual": Residual(torch.zeros(1, dtype=torch.uint8), 1.0)}, ValueError, "residual must be of shape"),
    ],
)
def test_a_wrong_argument_is_named(
    implementation: Implementation, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with use_implementation(implementation), pytest.raises(error, match=message):
        conv2d_u8(**simple(**changes))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Geometry(stride=(0, 1)),
        lambda: Geometry(padding=(-1, 0)),
        lambda: Geometry(padding=(2**31, 0), stride=(2**31, 1)),
        lambda: Output8Bit(0, 9, 3),
    ],
)
def test_impossible_settings_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"must be two numbers|needs 0 <= lowest"):
        make()


def test_no_image_gives_no_output() -> None:
    assert conv2d_u8(**simple(x=torch.zeros(0, 6, 6, 4, dtype=torch.uint8))).shape == (0, 4, 4, 8)


def op_arguments() -> tuple[object, ...]:
    weight = pack(torch.ones(8, 4, 3, 3))
    return (
        torch.randint(0, 256, (2, 6, 6, 4), dtype=torch.uint8), weight.codes, weight.exponents, weight.n_planes,
        weight.row_sums, [8, 4, 3, 3], weight.bits, weight.has_zero, 1, torch.ones(8), torch.zeros(8),
        [1, 1, 0, 0, 1, 1], [0, 0, 0, 255], None, 0.0, 0, False,
    )  # fmt: skip


def test_is_a_well_made_op() -> None:
    opcheck(torch.ops.dsnn_hpo.conv2d_u8.default, op_arguments())


def test_compiles_into_one_graph() -> None:
    arguments = simple(x=torch.randint(0, 256, (2, 6, 6, 4), dtype=torch.uint8))
    weight = arguments["weight"]

    def call(x: torch.Tensor) -> torch.Tensor:
        return conv2d_u8(x, weight, arguments["affine"], output=Output8Bit())

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(arguments["x"]), call(arguments["x"]))


def test_large_depthwise_kernels_do_not_wrap(each_isa: str) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = pack(
        random_weight(generator, (16, 1, 33, 33), 5, has_zero=False).clamp(-(2.0**13), 2.0**13).abs(), groups=16
    )
    assert int(weight.n_planes.max()) == 2
    x = torch.full((1, 33, 33, 16), 255, dtype=torch.uint8)
    case = Case(x, weight, (torch.ones(16), torch.zeros(16)), Geometry(), 0, None, None)
    assert torch.equal(case.compiled(), case.reference())
    assert (case.compiled() > 0).all()


@pytest.mark.parametrize("n_channels", [1028, 1032])
def test_sums_of_planes_up_to_the_end_of_32_bits_and_beyond(each_isa: str, n_channels: int) -> None:
    # 1028 * 255 * 2**13 is the last one below 2**31.
    weight = torch.full((3, n_channels, 1, 1), 2.0**13)
    weight[:, 0] = 1.0
    weight[1] *= -1.0
    packed = pack(weight)
    assert int(packed.n_planes.max()) == 2
    x = torch.full((1, 3, 7, n_channels), 255, dtype=torch.uint8)
    x[0, 0, 1:4] = 254
    case = Case(x, packed, (torch.ones(3), torch.zeros(3)), Geometry(), 0, None, None)
    assert torch.equal(case.compiled(), case.reference())
    assert torch.equal(case.compiled()[..., 1], -case.compiled()[..., 0])


def test_padding_beyond_memory_is_an_error() -> None:
    far = Geometry(stride=(2**15, 2**15), padding=(2**15, 2**15))
    x = torch.zeros(1, 4, 4, 2**13, dtype=torch.uint8)
    with use_implementation(Implementation.COMPILED), pytest.raises(MemoryError, match="not enough memory"):
        conv2d_u8(
            x.expand(1, 4, 4, 2**13).contiguous(),
            pack(torch.ones(1, 2**13, 1, 1)),
            (torch.ones(1), torch.zeros(1)),
            far,
        )
