"""From the `execution:` section to an executor."""

from __future__ import annotations

from pathlib import Path

from dsnn_hpo.execution._config import DaskConfig, ExecutionConfig, LocalConfig, SlurmConfig
from dsnn_hpo.execution._protocol import Executor
from dsnn_hpo.execution.local import LocalExecutor


def check_execution(config: ExecutionConfig) -> None:
    """Returns nothing; raises an InputError for what can be seen to be wrong before there are any workers."""
    match config:
        case DaskConfig(cluster=cluster) if cluster is not None:
            # Imported where it is used: it takes a second.
            from dsnn_hpo.execution.dask import check_cluster

            check_cluster(cluster, config.workers)
        case SlurmConfig():
            from dsnn_hpo.execution.slurm import check_jobs

            check_jobs(config)


def make_executor(config: ExecutionConfig, folder: Path) -> Executor:
    """Returns the workers that the section asks for.

    Args:
        config: the section.
        folder: the run folder, in which executors may keep what they need; one of theirs works in it at a time.

    Raises:
        ExperimentError: there are no such workers.
        ClusterError: jobs of an earlier session cannot be ended.
    """
    match config:
        case LocalConfig():
            return LocalExecutor(config.workers, config.threads_per_worker, config.limits)
        case DaskConfig():
            from dsnn_hpo.execution.dask import DaskExecutor

            return DaskExecutor(config, folder)
        case SlurmConfig():
            from dsnn_hpo.execution.slurm import SlurmExecutor

            return SlurmExecutor(config, folder)
