"""Where trials run: the Executor protocol and local worker processes. No torch here."""

from dsnn_hpo.execution._choose import make_executor
from dsnn_hpo.execution._config import ExecutionConfig, LocalConfig
from dsnn_hpo.execution._limits import Limits
from dsnn_hpo.execution._protocol import Executor, Job, ShouldStop
from dsnn_hpo.execution.local import LocalExecutor

__all__ = [
    "ExecutionConfig",
    "Executor",
    "Job",
    "Limits",
    "LocalConfig",
    "LocalExecutor",
    "ShouldStop",
    "make_executor",
]
