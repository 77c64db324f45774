"""Freezing leaves its arguments alone, sees changes in place, and does not depend on torch's defaults."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dsnn_hpo.errors import FreezeError
from dsnn_hpo.executor import freeze


class Changed(nn.Module):
    """A network that changes a value in place after a view of it was taken."""

    def __init__(self, view: str) -> None:
        super().__init__()
        self.view = view
        self.convolution, self.linear = nn.Conv2d(3, 4, 1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        y = x.flatten(1) if self.view == "flatten" else x[:, :, :]
        x.relu_()
        return self.linear(y.flatten(1))


class ClampedByTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)
        self.register_buffer("bound", torch.zeros(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(self.convolution(x), min=self.bound).flatten(1)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()


def test_calibration_samples_are_left_as_they_were() -> None:
    samples = torch.randn(300, 3, 2, 2)
    before = samples.clone()
    freeze(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 5)).eval(), samples)
    assert torch.equal(samples, before)


@pytest.mark.parametrize("view", ["flatten", "slice"])
def test_a_change_in_place_behind_a_view_is_refused(view: str) -> None:
    with pytest.raises(FreezeError, match="changes the value 'convolution' in place"):
        freeze(Changed(view).eval(), torch.randn(300, 3, 2, 2))


def test_a_clamp_by_a_tensor_is_refused() -> None:
    with pytest.raises(FreezeError, match="its bounds must be numbers"):
        freeze(ClampedByTensor().eval(), torch.randn(300, 3, 2, 2))


def test_torchs_defaults_do_not_matter() -> None:
    frozen, x = network(), torch.randn(300, 3, 8, 8)
    expected = freeze(frozen, x)(x)
    torch.set_default_dtype(torch.float64)
    try:
        executor = freeze(frozen, x)
        with torch.device("meta"):
            result = executor(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


def test_negated_views_keep_their_sign() -> None:
    x = torch.randn(300, 3, 8, 8)
    executor = freeze(network(), x)
    assert torch.equal(executor(torch._neg_view(x)), executor(-x))
