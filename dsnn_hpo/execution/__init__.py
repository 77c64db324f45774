"""Where trials run: the Executor protocol and local worker processes. No torch here."""

from dsnn_hpo.execution._config import ExecutionConfig
from dsnn_hpo.execution._protocol import Executor
from dsnn_hpo.execution.local import LocalExecutor

__all__ = ["ExecutionConfig", "Executor", "LocalExecutor"]
