"""What the kernels are measured against: torch's own ways to do the same work, and DeepShift's scheme."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from timing import Work, fastest
from torch import Tensor, nn
from torch.nn import functional as F

EAGER = "float32, eager"
MKL = "float32, MKL-prepacked"
ONEDNN = "float32, oneDNN-prepacked"
COMPILED = "float32, compiled and frozen"
BEST_LAYOUT = "float32, oneDNN in its best layout"
INT8_LINEAR = "torch int8 dynamic"
INT8_CONV = "torch quantised convolution"
CDIST = "unfold and torch.cdist, p = 1"
DEEPSHIFT = "DeepShift's scheme"
LIMIT = "the machine's limit"

PILOT_TURN_S = 0.01
FIXED_POINT = 2.0**16


def linear_float32(x: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Work]:
    """Returns torch's float32 linear layers by name. MKL has a slow path for processors of others than Intel."""
    n_rows = x.shape[0]
    by_mkl = torch.ops.mkl._mkl_reorder_linear_weight(weight, n_rows)
    by_onednn = torch.ops.mkldnn._reorder_linear_weight(weight, n_rows)
    return {
        EAGER: lambda: F.linear(x, weight, bias),
        MKL: lambda: torch.ops.mkl._mkl_linear(x, by_mkl, weight, bias, n_rows),
        ONEDNN: lambda: torch.ops.mkldnn._linear_pointwise(x, by_onednn, bias, "none", [], ""),
    }


def linear_int8(x: Tensor, weight: Tensor, bias: Tensor) -> Work:
    """Returns torch's int8 linear layer with dynamic quantisation, by the engine that is fastest."""

    def by_engine() -> Work:
        packed = torch.ops.quantized.linear_prepack(_int8(weight), bias)
        return lambda: torch.ops.quantized.linear_dynamic(x, packed, False)

    return _fastest_engine(by_engine)


def conv_float32(x: Tensor, weight: Tensor, bias: Tensor) -> Work:
    """Returns torch's 3x3 float32 convolution in NCHW, channels_last or with a prepacked weight: what is fastest."""
    last = torch.channels_last
    x_last, weight_last = x.to(memory_format=last), weight.to(memory_format=last)
    arguments = ([1, 1], [1, 1], [1, 1], 1)
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *arguments, list(x.shape))
    return fastest(
        [
            lambda: F.conv2d(x, weight, bias, padding=1),
            lambda: F.conv2d(x_last, weight_last, bias, padding=1),
            lambda: torch.ops.mkldnn._convolution_pointwise(x_last, packed, bias, *arguments, "none", [], ""),
        ],
        PILOT_TURN_S,
    )


def conv_cdist(x: Tensor, weight: Tensor) -> Work:
    """Returns a 3x3 adder convolution by ``torch.cdist``: the l1 distances of all patches to all filters."""
    filters = weight.flatten(1)
    return lambda: torch.cdist(F.unfold(x, 3, padding=1).transpose(1, 2), filters, p=1)


def conv_int8(x: Tensor, weight: Tensor, bias: Tensor) -> Work:
    """Returns torch's quantised 3x3 convolution with a rectifier, uint8 in channels_last, by the fastest engine."""
    with _deprecated():
        image = torch.quantize_per_tensor(x.contiguous(memory_format=torch.channels_last), 0.02, 0, torch.quint8)

    def by_engine() -> Work:
        packed = torch.ops.quantized.conv2d_prepack(_int8(weight), bias, [1, 1], [1, 1], [1, 1], 1)
        return lambda: torch.ops.quantized.conv2d_relu(image, packed, 0.05, 0)

    return _fastest_engine(by_engine)


def compiled(network: nn.Module, x: Tensor) -> Work:
    """Returns the network compiled by inductor, its weights frozen into the code, for x; needs ``torch.no_grad``."""
    import torch._inductor.config

    with torch._inductor.config.patch(freezing=True):
        function = torch.compile(network, dynamic=False)
        function(x)
    return lambda: function(x)


def linear_deepshift(x: Tensor, weight: Tensor) -> Work:
    """Returns a linear layer by DeepShift's scheme, its conversion to fixed point and back included."""
    shift, sign = _shift_and_sign(weight)
    (m, k), n = x.shape, weight.shape[0]
    native = library("deepshift")

    def work() -> Tensor:
        fixed, y = _fixed(x), torch.empty(m, n, dtype=torch.int32)
        native.deepshift_linear(*_pointers(fixed, shift, sign, y), *_longs(m, k, n), torch.get_num_threads())
        return y / FIXED_POINT

    return work


def conv_deepshift(x: Tensor, weight: Tensor) -> Work:
    """Returns a 3x3 convolution by DeepShift's scheme, its conversion to fixed point and back included."""
    shift, sign = _shift_and_sign(weight)
    (m, c, size, _), n = x.shape, weight.shape[0]
    native = library("deepshift")

    def work() -> Tensor:
        fixed, y = _fixed(x), torch.empty(m, n, size, size, dtype=torch.int32)
        native.deepshift_conv2d(*_pointers(fixed, shift, sign, y), *_longs(m, c, n, size), torch.get_num_threads())
        return y / FIXED_POINT

    return work


@cache
def limits(n_threads: int) -> tuple[float, float]:
    """Returns the multiply-accumulates a second of float32 and of int8 instructions; 0 where there is none."""
    native = library("limits", "-march=native")
    for function in (native.float32_macs, native.int8_macs):
        function.restype = ctypes.c_double
    return native.float32_macs(n_threads), native.int8_macs(n_threads)


@cache
def bytes_read_a_second(n_bytes: int, n_threads: int) -> float:
    """Returns how fast ``n_bytes`` are read again and again, from the cache that holds them or from memory."""
    native = library("limits", "-march=native")
    native.bytes_read.restype = ctypes.c_double
    rate: float = native.bytes_read(ctypes.c_int64(n_bytes), n_threads)
    return rate


@cache
def library(name: str, *flags: str) -> ctypes.CDLL:
    """Returns a C++ file of this folder, compiled for the run of this process."""
    source = Path(__file__).with_name(f"{name}.cpp")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.so"
        compiler = os.environ.get("CXX", "c++")
        command = [compiler, "-std=c++17", "-O3", *flags, "-fopenmp", "-shared", "-fPIC", "-o", str(file), str(source)]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(file))


def _fastest_engine(by_engine: Callable[[], Work]) -> Work:
    before = torch.backends.quantized.engine
    works = []
    for engine in torch.backends.quantized.supported_engines:
        if engine in ("none", "qnnpack"):  # qnnpack is for ARM.
            continue
        torch.backends.quantized.engine = engine
        works.append(by_engine())
    torch.backends.quantized.engine = before
    return fastest(works, PILOT_TURN_S)


def _int8(weight: Tensor) -> Tensor:
    scales = weight.abs().flatten(1).amax(1) / 127
    with _deprecated():
        return torch.quantize_per_channel(weight, scales, torch.zeros(len(scales), dtype=torch.int64), 0, torch.qint8)


@contextmanager
def _deprecated() -> Iterator[None]:
    """Hides torch's notice that its quantised tensors will go: they are what there is to compare with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _fixed(x: Tensor) -> Tensor:
    return (x * FIXED_POINT).to(torch.int32)


def _shift_and_sign(weight: Tensor) -> tuple[Tensor, Tensor]:
    return weight.abs().log2().to(torch.int8).contiguous(), weight.sign().to(torch.int8).contiguous()


def _pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _longs(*values: int) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(value) for value in values]
