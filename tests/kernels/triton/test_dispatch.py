"""What runs on CUDA tensors, tested on functions that take tensors of any device."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys

import pytest
import torch

from dsnn_hpo.errors import DsnnHpoWarning, KernelError
from dsnn_hpo.kernels import (
    Implementation,
    fixed_point_reference,
    pack,
    power_of_two_ps_reference,
    power_of_two_q_reference,
    use_implementation,
)
from dsnn_hpo.kernels.linear import linear_int8, linear_int8_reference
from dsnn_hpo.kernels.triton import _dispatch

OPS = [
    "power_of_two_q",
    "power_of_two_ps",
    "power_of_two_ps_backward",
    "fixed_point",
    "linear_int8",
    "linear_packed",
    "adder_conv2d",
    "adder_conv2d_grad_input",
]


def linear_arguments(packed, bias):
    parts = (packed.codes, packed.exponents, packed.n_planes, packed.row_sums, packed.scales, bias)
    return *parts, list(packed.shape), packed.bits, packed.has_zero


@pytest.mark.parametrize("op", OPS)
def test_every_op_is_registered_for_cuda(op):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"dsnn_hpo::{op}", "CUDA")


def test_triton_is_not_imported_before_it_is_needed():
    code = "import sys, dsnn_hpo.kernels; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("implementation", list(Implementation))
def test_ops_equal_their_references(device, implementation):
    x, y = torch.randn(40, 6), torch.randn(40, 6)
    seed = torch.tensor(-5)
    on = x.to(device), y.to(device)
    with use_implementation(implementation):
        for key, rounding in ((None, "deterministic"), (seed, "stochastic")):
            expected = power_of_two_q_reference(x, 4, rounding, -5)
            assert torch.equal(_dispatch.power_of_two_q(on[0], 4, key).cpu(), expected)
            expected = power_of_two_ps_reference(x, y, 4, rounding, -5)
            assert torch.equal(_dispatch.power_of_two_ps(*on, 4, key).cpu(), expected)
        got = _dispatch.fixed_point(on[0], 3, 5, "stochastic", seed).cpu()
        assert torch.equal(got, fixed_point_reference(x, 3, 5, "stochastic", -5))
        assert torch.equal(_dispatch.power_of_two_ps_backward(*on).cpu(), x * y * math.log(2.0))


@pytest.mark.parametrize("n_rows", [0, 3, 70])
@pytest.mark.parametrize("bits", [4, 6])
def test_integer_layers_equal_their_reference(device, n_rows, bits):
    packed = pack(torch.ldexp(torch.ones(20, 50), -torch.randint(0, 2 ** (bits - 1), (20, 50))), bits)
    x, bias = torch.randn(n_rows, 50), torch.randn(20)
    got = _dispatch.linear_int8(x.to(device), *linear_arguments(packed.to(device), bias.to(device)))
    expected = linear_int8_reference(x, packed, bias) if n_rows else torch.empty(0, 20)
    assert torch.equal(got.cpu(), expected)


@pytest.mark.parametrize("n_rows", [0, 3, 70])
@pytest.mark.parametrize("implementation", [Implementation.REFERENCE, Implementation.COMPILED])
def test_float_layers_of_any_shape_equal_torch(device, n_rows, implementation):
    packed = pack(torch.ldexp(torch.ones(20, 50), -torch.randint(0, 8, (20, 50))))
    x, bias = torch.randn(n_rows, 1, 50).bfloat16(), torch.randn(20)
    with use_implementation(implementation):
        got = _dispatch.linear_packed(x.to(device), *linear_arguments(packed.to(device), bias.to(device)))
    assert got.dtype is torch.bfloat16
    expected = x.double() @ packed.unpack(torch.float64).T + bias.double()
    torch.testing.assert_close(got.cpu().double(), expected, rtol=2.0**-7, atol=0.05)


def test_what_the_kernels_do_not_take_runs_on_the_reference_unless_compiled_is_asked_for(device):
    x = torch.randn(6, 6, device=device).double()
    assert torch.equal(_dispatch.power_of_two_q(x, 4).cpu(), power_of_two_q_reference(x.cpu(), 4))
    with (
        use_implementation(Implementation.COMPILED),
        pytest.raises(KernelError, match=r"not torch\.float64 of strides"),
    ):
        _dispatch.power_of_two_q(x, 4)
    with pytest.raises(TypeError, match="takes tensors of one floating-point dtype"):
        _dispatch.fixed_point(x.long(), 4, 4, "floor")
    with pytest.raises(ValueError, match="rounding must be one of"):
        _dispatch.fixed_point(x.float(), 4, 4, "up")
    with pytest.raises(ValueError, match="of one shape"):
        _dispatch.power_of_two_ps(x.float(), x.float()[:2], 4)


def test_without_triton_the_reference_runs_and_says_so_once(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    _dispatch._is_installed.cache_clear()
    x = torch.randn(5)
    try:
        with pytest.warns(DsnnHpoWarning, match=r"triton is not installed.*dsnn-hpo\[gpu\]"):
            got = _dispatch.power_of_two_q(x, 4)
        assert torch.equal(got, power_of_two_q_reference(x, 4))
        _dispatch.power_of_two_q(x, 4)  # a second warning would be an error
        with use_implementation(Implementation.COMPILED), pytest.raises(KernelError, match="need triton: pip install"):
            _dispatch.power_of_two_q(x, 4)
    finally:
        _dispatch._is_installed.cache_clear()


@pytest.mark.parametrize(
    ("x", "bias", "error", "message"),
    [
        (torch.zeros(2, 4).double(), None, TypeError, r"x must be torch\.float32, not torch\.float64"),
        (torch.zeros(2, 5), None, ValueError, r"x must be of shape \(\.\.\., 4\), not \(2, 5\)"),
        (torch.zeros(2, 4), torch.zeros(2), ValueError, r"bias must be of shape \(3,\), not \(2,\)"),
        (torch.zeros(2, 4), torch.zeros(3).half(), TypeError, r"bias must be torch\.float32, not torch\.float16"),
        (torch.zeros(2, 4, device="meta"), None, ValueError, "the weight must be on meta, as x is, not on cpu"),
    ],
)
def test_wrong_arguments_of_a_layer_are_named(x, bias, error, message):
    packed = pack(torch.ones(3, 4))
    with pytest.raises(error, match=message):
        _dispatch.linear_int8(x, *linear_arguments(packed, bias))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_op_runs_on_a_gpu():
    packed = pack(torch.ldexp(torch.ones(30, 64), -torch.randint(0, 7, (30, 64))))
    x = torch.randn(9, 64)
    got = linear_int8(x.cuda(), packed.to("cuda"))
    assert torch.equal(got.cpu(), linear_int8_reference(x, packed))
