from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dsnn_hpo.executor import Executor
from dsnn_hpo.kernels import Implementation, available_isas
from dsnn_hpo.kernels._library import library, set_isa
from dsnn_hpo.kernels.compiled_plan import CompiledPlan
from dsnn_hpo.kernels.plan import Plan
from dsnn_hpo.operators import ShiftConfig, convert_, matching


@pytest.fixture(autouse=True)
def _threads_and_isa_put_back() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    loaded = library()
    before = loaded.dsnn_isa().decode() if loaded is not None else None
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)
    if loaded is not None:
        set_isa(loaded, before)


@pytest.fixture
def same_everywhere() -> Callable[[Executor, Tensor], Tensor]:
    """Returns a function that checks all implementations against the reference, and gives its logits."""

    def check(executor: Executor, x: Tensor) -> Tensor:
        expected = executor.run(x, Implementation.REFERENCE)
        if not available_isas():
            return expected
        with pytest.MonkeyPatch.context() as patch:
            # So large a network is shared among threads, whatever its real size.
            patch.setattr(Plan, "n_macs", lambda *_: 2**20)
            compiled = CompiledPlan(executor.plan)
        for isa in available_isas():
            set_isa(library(), isa)
            # One thread; chunks of images by two; two images, fewer than threads, by three together.
            for n_threads, n in ((1, len(x)), (2, len(x)), (3, min(len(x), 2))):
                torch.set_num_threads(n_threads)
                assert torch.equal(compiled(x[:n]), expected[:n]), f"{isa}, {n_threads} threads"
        torch.set_num_threads(1)
        return expected

    return check


@pytest.fixture
def prepared() -> Callable[..., nn.Module]:
    """Returns a function that converts a network to shifts and gives its normalisation some statistics."""

    def make(network: nn.Module, x: Tensor, *, shift: bool = True, **config: Any) -> nn.Module:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
                module.momentum = None
        if shift:
            network = convert_(network, matching("*", ShiftConfig(**config)), from_trained=True)
        with torch.no_grad():
            network.train()(x)
        return network.eval()

    return make


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture
def is_close() -> Callable[[nn.Module, Executor, Tensor], bool]:
    """Returns a function: whether the logits are as near to the network's as with a little noise on its input.

    An untrained network of many layers amplifies any noise, that of 8-bit activations too, so it measures itself.
    """

    def compare(network: nn.Module, executor: Executor, x: Tensor) -> bool:
        with torch.no_grad():
            expected = network(x)
            noise = relative_error(network(x + 0.01 * x.std() * torch.randn_like(x)), expected)
        return relative_error(executor.run(x, Implementation.REFERENCE), expected) < 3 * noise + 0.01

    return compare
