from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dsnn_hpo.deploy import DeployedModel, load_model, save_model
from dsnn_hpo.executor import Executor
from tests.deploy.networks import facts_of


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def reloaded(tmp_path: Path) -> Callable[[Executor], DeployedModel]:
    """Returns a function that saves an executor and loads what it saved."""

    def again(executor: Executor) -> DeployedModel:
        folder = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        save_model(executor, facts_of(executor), folder)
        return load_model(folder)

    return again
