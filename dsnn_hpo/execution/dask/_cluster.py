"""Dask clusters whose workers are jobs of a batch system, by dask-jobqueue."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask_jobqueue
from distributed.deploy.spec import SpecCluster

from dsnn_hpo.errors import DsnnHpoWarning, ExperimentError
from dsnn_hpo.execution._config import ClusterConfig

CLASSES = {
    "htcondor": "HTCondorCluster",
    "lsf": "LSFCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "slurm": "SLURMCluster",
}
OURS = ("asynchronous", "job_cls", "loop", "n_workers", "scheduler_cls", "security", "shared_temp_directory")
TEND_EVERY_S = 5.0


def check_cluster(config: ClusterConfig, n_workers: int) -> None:
    """Returns nothing; raises ExperimentError if dask-jobqueue does not take the options, without asking for a job."""
    if n_workers % config.processes:
        raise ExperimentError(
            f"execution: {n_workers} workers cannot be divided into jobs of {config.processes} (cluster.processes)"
        )
    for name in OURS:
        if name in config.options:
            raise ExperimentError(f"execution.cluster.{name} is not yours to set: leave it out")
    job_class = _cluster_class(config).job_cls
    options = {k: v for k, v in config.options.items() if k != "scheduler_options"}
    try:
        job_class(scheduler="tls://127.0.0.1:1", name="check", **{**options, **_worker_options(config, Path())})
    except (TypeError, ValueError) as error:
        raise ExperimentError(f"execution.cluster: dask-jobqueue's {job_class.__name__} says: {error}") from error


async def open_cluster(config: ClusterConfig, n_workers: int, folder: Path) -> SpecCluster:
    """Returns a cluster that has asked for its workers and replaces those that are lost; call it in its event loop.

    Its scheduler runs in this process and talks by TLS with keys made for it: whoever may read ``folder`` may join.

    Args:
        config: what to ask for.
        n_workers: Dask workers in all, as many as trials.
        folder: for the logs of the jobs and the keys; all nodes must see it.

    Raises:
        ExperimentError: dask-jobqueue or the batch system refuses it.
    """
    check_cluster(config, n_workers)
    scheduler_options = {
        "allowed_failures": 0,
        "dashboard": False,
        # Without a dashboard Dask still answers a few questions by HTTP, without keys.
        "dashboard_address": "127.0.0.1:0",
        **config.options.get("scheduler_options", {}),
    }
    options = {**config.options, **_worker_options(config, folder), "scheduler_options": scheduler_options}
    try:
        cluster: SpecCluster = _cluster_class(config)(
            asynchronous=True, security=True, shared_temp_directory=str(folder), **options
        )
        await cluster
    except (RuntimeError, OSError, TypeError, ValueError) as error:
        raise ExperimentError(f"execution.cluster: Dask's scheduler cannot start: {error}") from error
    try:
        cluster.scale(n_workers)
        await cluster
    except (RuntimeError, OSError, ValueError) as error:
        await _forget_unsubmitted(cluster)
        closing: Any = cluster.close()
        await closing
        raise ExperimentError(f"execution.cluster: the batch system refuses the workers: {error}") from error
    cluster.adapt(minimum=n_workers, maximum=n_workers)
    return cluster


async def tend(cluster: SpecCluster, n_workers: int) -> None:
    """Submits the jobs again whose submission failed, for ever: Dask takes them for workers that are still to come."""
    while True:
        await asyncio.sleep(TEND_EVERY_S)
        if await _forget_unsubmitted(cluster):
            warnings.warn("the batch system refused a Dask worker; it is asked again", DsnnHpoWarning, stacklevel=2)
            cluster.scale(n_workers)


async def _forget_unsubmitted(cluster: SpecCluster) -> int:
    """Returns how many workers of the cluster never became jobs, after taking them out of its books."""
    unsubmitted = [name for name, job in cluster.workers.items() if job.job_id is None]
    for name in unsubmitted:
        await cluster.workers.pop(name).close()
    return len(unsubmitted)


def _cluster_class(config: ClusterConfig) -> Any:
    return getattr(dask_jobqueue, CLASSES[config.type])


def _worker_options(config: ClusterConfig, folder: Path) -> Mapping[str, Any]:
    extra = list(config.options.get("worker_extra_args", ()))
    # One trial at a time a worker, whatever its cores: the last --nthreads counts.
    extra += ["--nthreads", "1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    return {
        "cores": config.cores,
        "processes": config.processes,
        "interface": config.interface,
        "log_directory": config.options.get("log_directory", str(folder)),
        "worker_extra_args": extra,
    }
