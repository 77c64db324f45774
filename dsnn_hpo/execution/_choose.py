"""From the `execution:` section to an executor."""

from __future__ import annotations

from dsnn_hpo.execution._config import ExecutionConfig
from dsnn_hpo.execution._protocol import Executor
from dsnn_hpo.execution.local import LocalExecutor


def make_executor(config: ExecutionConfig) -> Executor:
    """Returns the workers that the section asks for."""
    return LocalExecutor(config.workers, config.threads_per_worker, config.limits)
