"""Where trials run: the Executor protocol, worker processes of this machine and Dask's, jobs of SLURM. No torch here."""

from dsnn_hpo.execution._choose import check_execution, make_executor
from dsnn_hpo.execution._config import DaskConfig, DriverConfig, ExecutionConfig, LocalConfig, SlurmConfig
from dsnn_hpo.execution._limits import Limits
from dsnn_hpo.execution._protocol import Executor, Job, ShouldStop
from dsnn_hpo.execution.local import LocalExecutor

__all__ = [
    "DaskConfig",
    "DriverConfig",
    "ExecutionConfig",
    "Executor",
    "Job",
    "Limits",
    "LocalConfig",
    "LocalExecutor",
    "ShouldStop",
    "SlurmConfig",
    "check_execution",
    "make_executor",
]
