"""Every kernel compiles for Hopper, as it would be launched, without a GPU: on its matrix unit, without spills."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dsnn_hpo.kernels import Geometry, PackedWeight, pack

triton = pytest.importorskip("triton", reason="triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter does not compile", allow_module_level=True)
compiler = pytest.importorskip("triton.backends.compiler")
jit = pytest.importorskip("triton.runtime.jit")
quantise = pytest.importorskip("dsnn_hpo.kernels.triton.quantise")
linear = pytest.importorskip("dsnn_hpo.kernels.triton.linear")
dense_linear = pytest.importorskip("dsnn_hpo.kernels.triton.dense_linear")
facts = pytest.importorskip("dsnn_hpo.kernels.triton._facts")
adder = pytest.importorskip("dsnn_hpo.kernels.triton.adder")

Kernels = dict[str, Any]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


class Hopper:
    """Triton's driver of a GPU that is not there; the number keeps its kernels apart from those of a real one."""

    def get_current_device(self) -> int:
        return 90

    def get_current_stream(self, _device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        return compiler.GPUTarget("cuda", 90, 32)


@pytest.fixture
def kernels_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Kernels]:
    """Returns a function that calls another and returns the kernels that it would have launched, by name."""
    compiled: Kernels = {}
    run = jit.JITFunction.run

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        assert all(size > 0 for size in grid)
        compiled[self.fn.__name__] = run(self, *arguments, grid=grid, warmup=True, **options)

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(triton.runtime.driver, "_active", Hopper())
    monkeypatch.setattr(jit.JITFunction, "run", compile_only)

    def launch(function: Callable[..., object], *arguments: Any) -> Kernels:
        compiled.clear()
        function(*arguments)
        return dict(compiled)

    return launch


def assert_no_spills(kernel: Any, folder: Path) -> None:
    (folder / "kernel.cubin").write_bytes(kernel.asm["cubin"])
    tool = triton.knobs.nvidia.cuobjdump.path
    usage = subprocess.run([tool, "-res-usage", folder / "kernel.cubin"], capture_output=True, text=True, check=True)
    assert re.findall(r"STACK:(\d+) .*LOCAL:(\d+)", usage.stdout) == [("0", "0")], usage.stdout


def weight(bits: int, has_zero: bool, shape: tuple[int, int] = (512, 4096)) -> PackedWeight:
    values = torch.ones(shape)
    values[:, 0] = 2.0 ** -(2 ** (bits - 1) - 1 - has_zero)
    if has_zero:
        values[:, 1] = 0.0
    return pack(values, bits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantisers_compile_without_spills(kernels_of, tmp_path, dtype):
    x = torch.zeros(4096, dtype=dtype)
    for rounding in ("deterministic", "stochastic"):
        for kernels in (
            kernels_of(quantise.power_of_two_q, x, 4, rounding, 2**60),
            kernels_of(quantise.power_of_two_ps, x, x, 4, rounding, 7),
        ):
            (kernel,) = kernels.values()
            assert_no_spills(kernel, tmp_path)
            # Four elements at a time: 16 bytes of float32.
            assert re.search(r"ld\.global.*\.v[24]\.b(16|32)|ld\.global.*\.b64", kernel.asm["ptx"])
    for rounding in ("floor", "nearest", "stochastic"):
        (kernel,) = kernels_of(quantise.fixed_point, x, 8, 8, rounding, 1).values()
        assert_no_spills(kernel, tmp_path)
        assert "fma.rn" not in kernel.asm["ptx"]
    (kernel,) = kernels_of(quantise.power_of_two_ps_backward, x, x).values()
    assert_no_spills(kernel, tmp_path)


def check_linear(kernels_of: Callable[..., Kernels], folder: Path, packed: PackedWeight, n_rows: int) -> None:
    planes = facts.largest_plane(packed.n_planes)
    launches = [
        (dtype, kernels_of(linear.packed_linear, torch.zeros(n_rows, 4096, dtype=dtype), packed)) for dtype in DTYPES
    ]
    if planes <= linear.MAX_PLANES:
        x = torch.zeros(n_rows, 4096)
        launches.append((torch.int8, kernels_of(linear.packed_linear_int8, x, packed, packed.scales, planes)))
    for dtype, kernels in launches:
        multiply = kernels["packed_linear_kernel"]
        operand = linear.INT8 if dtype is torch.int8 else linear.operand_for(dtype, packed)
        name = {"int8": "s32.s8.s8", "float16": "f32.f16.f16", "bfloat16": "f32.bf16.bf16"}[operand.kind]
        products = re.findall(r"wgmma\.mma_async\.sync\.aligned\.m64n\d+k\d+\.(\S+)", multiply.asm["ptx"])
        # One product a phase, part and plane, or two where the matrix unit takes half the units at a time.
        n_products = linear.unit_columns(packed.bits) * operand.n_parts * (planes if operand is linear.INT8 else 1)
        assert set(products) == {name}
        assert len(products) % n_products == 0
        # The weight, on the left, comes from registers: a list of four, not a descriptor of shared memory.
        assert re.search(r"wgmma\.mma_async[^{]*\{[^}]*\}, *\{[^}]*\}, *%rd", multiply.asm["ptx"])
        for kernel in kernels.values():
            assert_no_spills(kernel, folder)


@pytest.mark.parametrize("n_rows", [1, 64])
def test_the_packed_linear_layer_runs_on_the_matrix_unit(kernels_of, tmp_path, n_rows):
    check_linear(kernels_of, tmp_path, weight(4, n_rows == 1), n_rows)


@pytest.mark.slow
@pytest.mark.parametrize("n_rows", [1, 17, 64])
@pytest.mark.parametrize("has_zero", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_the_packed_linear_layer_of_every_format_runs_on_the_matrix_unit(kernels_of, tmp_path, bits, has_zero, n_rows):
    check_linear(kernels_of, tmp_path, weight(bits, has_zero), n_rows)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_decoders_compile_without_spills(kernels_of, tmp_path, bits):
    packed = weight(bits, bits % 2 == 0)
    for arguments in ((dense_linear.decode, packed, torch.bfloat16), (dense_linear.decode_int8, packed, 0)):
        (kernel,) = kernels_of(*arguments).values()
        assert_no_spills(kernel, tmp_path)
    (kernel,) = kernels_of(dense_linear.decode_float8, packed, -15).values()
    assert_no_spills(kernel, tmp_path)


@pytest.mark.parametrize("bits", [4, 5])
def test_the_integer_product_of_many_rows_compiles_without_spills(kernels_of, tmp_path, bits):
    packed = weight(bits, True, (96, 200))
    planes = facts.largest_plane(packed.n_planes)
    bias = torch.zeros(96)
    kernels = kernels_of(dense_linear.dense_linear_int8, torch.zeros(100, 200), packed, packed.scales, planes, bias)
    assert set(kernels) == {"arrange_int8_kernel", "decode_kernel", "scale_kernel"}
    for kernel in kernels.values():
        assert_no_spills(kernel, tmp_path)


@pytest.mark.parametrize("exponent", [1.0, 1.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_adders_compile_without_spills(kernels_of, tmp_path, dtype, exponent):
    x = torch.zeros(8, 64, 16, 16, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.zeros(64, 64, 3, 3, dtype=dtype)
    shape = adder.AdderShape(Geometry(padding=(1, 1)), 1, exponent)
    (forward,) = kernels_of(adder.adder_conv2d, x, weight, shape, torch.empty_like(x)).values()
    (backward,) = kernels_of(adder.adder_conv2d_grad_input, x, x, weight, shape).values()
    for kernel in (forward, backward):
        assert_no_spills(kernel, tmp_path)
    if exponent == 1:
        # Only the gradient multiplies.
        assert not re.search(r"(mul|fma)\.\S*f32", forward.asm["ptx"])
        assert "ex2" not in backward.asm["ptx"]
