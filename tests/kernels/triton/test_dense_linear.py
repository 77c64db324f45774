"""Weights decoded once for many rows: exact in every dtype that holds their exponents."""

from __future__ import annotations

import pytest
import torch

from dsnn_hpo.kernels import PackedWeight, pack

pytest.importorskip("triton", reason="triton is not installed")
dense_linear = pytest.importorskip("dsnn_hpo.kernels.triton.dense_linear")
facts = pytest.importorskip("dsnn_hpo.kernels.triton._facts")


def random_weight(bits: int, has_zero: bool, shape: tuple[int, int] = (37, 45)) -> tuple[torch.Tensor, PackedWeight]:
    """Returns a weight of 2**0 and less, and its packed form."""
    generator = torch.Generator().manual_seed(10 * bits + has_zero)
    n_exponents = 2 ** (bits - 1) - has_zero
    sign = torch.randint(0, 2, shape, generator=generator) * 2.0 - 1
    weight = torch.ldexp(sign, -torch.randint(0, n_exponents, shape, generator=generator))
    if has_zero:
        weight[::3, ::2] = 0.0
    return weight, pack(weight, bits)


@pytest.mark.parametrize("has_zero", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_decoded_weights_are_exact(device, bits, has_zero):
    weight, packed = random_weight(bits, has_zero)
    packed = packed.to(device)
    dtypes = [torch.float32, torch.bfloat16] + [torch.float16] * facts.fits_half(packed)
    for dtype in dtypes:
        got = dense_linear.decode(packed, dtype)
        assert got.dtype is dtype
        assert torch.equal(got.cpu().double(), weight.double())
    planes = [dense_linear.decode_int8(packed, plane).cpu().long() for plane in range(int(packed.n_planes.max()))]
    integers = sum(digits * 128**plane for plane, digits in enumerate(planes))
    assert integers.shape == (48, 48)
    assert torch.equal(integers[:37, :45], packed.to("cpu").integers())
    assert integers[37:].eq(0).all()
    assert integers[:, 45:].eq(0).all()
    if facts.fits_float8(packed):
        _, highest = facts.exponent_span(packed)
        float8 = dense_linear.decode_float8(packed, highest - 15)[:37, :45].cpu()
        assert float8.dtype is torch.float8_e5m2
        assert torch.equal(float8.double() * 2.0 ** (highest - 15), weight.double())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2.0**-10), (torch.bfloat16, 2.0**-7)]
)
@pytest.mark.parametrize("bits", [4, 6])
def test_many_rows_multiply_by_the_decoded_weight(device, bits, dtype, tolerance):
    weight, packed = random_weight(bits, True)
    x, bias = torch.randn(130, 45).to(dtype), torch.randn(37)
    expected = x.double() @ weight.double().T + bias.double()
    got = dense_linear.dense_linear(x.to(device), packed.to(device), bias.to(device))
    assert got.dtype is dtype
    assert (got.cpu().double() - expected).abs().max() < 2 * tolerance * expected.abs().max()


def test_float8_rounds_only_the_activations(device):
    weight, packed = random_weight(4, True, (64, 96))
    x, bias = torch.randn(40, 96), torch.randn(64).bfloat16()
    scale = x.abs().max() / 448.0
    rounded = (x / scale).clamp(-448.0, 448.0).to(torch.float8_e4m3fn).double() * scale.double()
    expected = rounded @ weight.double().T + bias.double()
    got = dense_linear.dense_linear_float8(x.to(device), packed.to(device), bias.to(device))
    assert got.dtype is torch.bfloat16
    assert (got.cpu().double() - expected).abs().max() < 2.0**-8 * expected.abs().max()


def test_exponents_beyond_float8_multiply_in_bfloat16(device):
    packed = pack(torch.tensor([[1.0], [2.0**-40]]).expand(2, 5), 4)
    assert facts.exponent_span(packed) == (-40, 7)
    assert not facts.fits_float8(packed)
    x = torch.randn(4, 5).bfloat16()
    got = dense_linear.dense_linear_float8(x.to(device), packed.to(device)).cpu()
    torch.testing.assert_close(got, x @ packed.unpack(torch.bfloat16).T, rtol=2.0**-7, atol=1e-15)


def test_float16_holds_a_weight_by_its_exponents():
    assert facts.fits_half(pack(torch.tensor([[1.0, 2.0**-7]]), 4))
    assert not facts.fits_half(pack(torch.tensor([[1.0, 2.0**-25]]), 6))
