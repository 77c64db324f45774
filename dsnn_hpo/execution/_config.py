"""The `execution:` section of an experiment file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from dsnn_hpo.execution._limits import Limits


class _Common(BaseModel):
    """What all kinds of workers have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(strict=True, default=1, ge=1, le=1024, description="trials that run at the same time")
    threads: int | None = Field(
        strict=True,
        default=None,
        ge=1,
        le=1024,
        description="threads of each worker; by default the processor's cores divided among them",
    )
    attempts: int = Field(
        strict=True,
        default=5,
        ge=1,
        le=1000,
        description="a trial whose worker was lost (killed, preempted, its node failed) is begun so many times in all",
    )
    trial_time_s: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a trial that takes longer has failed"
    )
    memory_gb: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a trial whose process uses more memory (GiB) has failed"
    )

    @property
    def limits(self) -> Limits:
        """Returns what a trial may take."""
        return Limits(self.trial_time_s, self.memory_gb)


class LocalConfig(_Common):
    """Worker processes on this machine."""

    kind: Literal["local"] = "local"

    @property
    def threads_per_worker(self) -> int:
        """Returns the threads of each worker, at least 1."""
        return self.threads or max(1, _n_cores() // self.workers)


class ClusterConfig(BaseModel):
    """Jobs of a batch system that are Dask workers; what is not named here goes to dask-jobqueue's class as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal["htcondor", "lsf", "moab", "oar", "pbs", "sge", "slurm"] = Field(description="the batch system")
    interface: str = Field(
        min_length=1, description="the network interface on which the scheduler and the workers listen, such as ib0"
    )
    cores: int = Field(strict=True, default=1, ge=1, le=1024, description="processor cores of each job")
    processes: int = Field(strict=True, default=1, ge=1, le=1024, description="workers in each job")

    @property
    def options(self) -> dict[str, Any]:
        """Returns what goes to dask-jobqueue's class as it is."""
        return dict(self.model_extra or {})


class DaskConfig(_Common):
    """Long-lived workers of a Dask scheduler: of one that runs, or of jobs that are submitted."""

    kind: Literal["dask"]
    address: str | None = Field(
        default=None,
        pattern=r"^(tcp|tls)://[^/\s]+:\d+$",
        description="a Dask scheduler, such as tcp://node7:8786",
    )
    cluster: ClusterConfig | None = Field(default=None, description="the jobs that are to be its workers")

    @model_validator(mode="after")
    def _scheduler_is_one(self) -> DaskConfig:
        if (self.address is None) == (self.cluster is None):
            raise ValueError("needs either `address`, of a Dask scheduler that runs, or `cluster`, to start one")
        return self

    @property
    def threads_per_worker(self) -> int:
        """Returns the threads of each trial: by default the cores of a job divided among its workers, or 1."""
        cores = 1 if self.cluster is None else max(1, self.cluster.cores // self.cluster.processes)
        return self.threads or cores


def _kind_of(section: Any) -> str:
    kind = section.get("kind", "local") if isinstance(section, Mapping) else getattr(section, "kind", "local")
    return str(kind)


ExecutionConfig: TypeAlias = Annotated[
    Annotated[LocalConfig, Tag("local")] | Annotated[DaskConfig, Tag("dask")],
    Discriminator(_kind_of),
]
"""Where trials run; ``kind`` says which, and is "local" where it is left out."""


def _n_cores() -> int:
    # A container or a SLURM job often gives fewer cores than the machine has; not every system can say so.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
