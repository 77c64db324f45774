"""Dask clusters whose workers are jobs of a batch system, by dask-jobqueue."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Security, Status
from distributed.deploy.spec import SpecCluster

from dsnn_hpo.errors import ExperimentError
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


def check_cluster(config: ClusterConfig, n_workers: int) -> None:
    """Returns nothing; raises ExperimentError if dask-jobqueue does not take the options, without asking for a job."""
    if n_workers % config.processes:
        raise ExperimentError(
            f"{n_workers} workers cannot be divided into jobs of {config.processes} (cluster.processes)"
        )
    for name in OURS:
        if name in config.options:
            raise ExperimentError(f"cluster.{name} is not yours to set: leave it out")
    job_class = _cluster_class(config).job_cls
    options = {k: v for k, v in config.options.items() if k != "scheduler_options"}
    try:
        job_class(scheduler="tls://127.0.0.1:1", name="check", **{**options, **_worker_options(config, Path())})
    except (TypeError, ValueError) as error:
        raise ExperimentError(f"cluster: dask-jobqueue's {job_class.__name__} says: {error}") from error


async def open_cluster(config: ClusterConfig, n_workers: int, folder: Path) -> SpecCluster:
    """Returns a cluster that has asked for its workers and replaces those that are lost; call it in its event loop.

    Its scheduler runs in this process and talks by TLS, with keys made for it that only the user can read.

    Args:
        config: what to ask for.
        n_workers: Dask workers in all, as many as trials.
        folder: for the keys; the jobs' logs lie beside it. All nodes must see it.

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
    # A lost worker is told to the driver, which says so itself.
    options = {
        "silence_logs": "critical",
        **config.options,
        **_worker_options(config, folder.parent),
        "scheduler_options": scheduler_options,
    }
    cluster_class = _cluster_class(config)
    options["job_cls"] = _that_tells_its_end(cluster_class.job_cls)
    try:
        cluster: SpecCluster = cluster_class(asynchronous=True, security=_new_keys(folder), **options)
        await cluster
    except (RuntimeError, OSError, TypeError, ValueError) as error:
        raise ExperimentError(f"execution.cluster: {error}") from error
    # As `scale` does, which keeps to itself what the batch system says.
    for _ in range(n_workers // config.processes):
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        await cluster
    except (RuntimeError, OSError, ValueError) as error:
        forget_unsubmitted(cluster)
        closing: Any = cluster.close()
        await closing
        said = str(error).rpartition("stderr:")[2].strip()
        raise ExperimentError(f"execution.cluster: no job for a Dask worker could be submitted: {said}") from error
    cluster.adapt(minimum=n_workers, maximum=n_workers)
    return cluster


def _that_tells_its_end(job_class: Any) -> Any:
    """Returns a batch system's class of jobs that say so when they are closed.

    Those of dask-jobqueue 0.9.0 are "running" for ever, and a cluster that closes before the last of them is collected as
    garbage stops halfway at that.
    """

    async def close(self: Any) -> None:
        await job_class.close(self)
        self.status = Status.closed

    return type(job_class.__name__, (job_class,), {"close": close})


def _new_keys(folder: Path) -> Security:
    """Returns keys for one cluster, kept in files of ``folder`` that only the user can read."""
    made = Security.temporary()
    files = {"cert": folder / "cert.pem", "key": folder / "key.pem"}
    for kind, file in files.items():
        file.touch(mode=0o600)
        file.write_text(getattr(made, f"tls_scheduler_{kind}"), encoding="ascii")
    roles = {f"tls_{role}_{kind}": str(files[kind]) for role in ("scheduler", "worker", "client") for kind in files}
    return Security(require_encryption=True, tls_ca_file=str(files["cert"]), **roles)


def forget_unsubmitted(cluster: SpecCluster) -> int:
    """Returns how many workers of the cluster never became jobs, after taking them out of its books."""
    unsubmitted = [name for name, job in cluster.workers.items() if job.job_id is None]
    for name in unsubmitted:
        cluster.workers.pop(name).status = Status.failed
    return len(unsubmitted)


def _cluster_class(config: ClusterConfig) -> Any:
    with _signals_as_they_are():
        import dask_jobqueue
    return getattr(dask_jobqueue, CLASSES[config.type])


@contextmanager
def _signals_as_they_are() -> Iterator[None]:
    """Keeps dask-jobqueue, as it is imported, from making Ctrl-C end the process at once, with exit code 0."""
    real = signal.signal
    # Putting the handlers back would not do: in other threads than the main one, the import would fail.
    setattr(signal, "signal", lambda *_: None)  # noqa: B010 - mypy takes no assignment to a function
    try:
        yield
    finally:
        setattr(signal, "signal", real)  # noqa: B010


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
