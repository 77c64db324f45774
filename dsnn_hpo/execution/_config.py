"""The `execution:` section of an experiment file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

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


Word: TypeAlias = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=1000)]
SbatchValue: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[^\n]*$")] | bool | int | float
# What the program needs to know of its jobs, it must have said itself.
OWN_SBATCH_OPTIONS = frozenset(
    {"array", "error", "job-name", "ntasks", "open-mode", "output", "requeue", "signal", "time", "wrap"}
)


def _not_our_own(options: dict[str, SbatchValue]) -> dict[str, SbatchValue]:
    if taken := sorted(OWN_SBATCH_OPTIONS & {name.replace("_", "-") for name in options}):
        raise ValueError(f"{', '.join(taken)}: set by dsnn-hpo itself; leave it out")
    return {name.replace("_", "-"): value for name, value in options.items()}


SbatchOptions: TypeAlias = Annotated[
    dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")], SbatchValue], AfterValidator(_not_our_own)
]


class DriverConfig(BaseModel):
    """The SLURM job that `dsnn-hpo run --submit` makes of the driver."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: Word | None = Field(default=None, description="of the driver's job; by default that of the trials' jobs")
    time_min: int = Field(
        strict=True, default=1440, ge=5, le=10_000_000, description="time limit; then the job is requeued and goes on"
    )
    memory_gb: float = Field(default=4.0, gt=0, allow_inf_nan=False, description="memory of the driver's job (GiB)")
    sbatch: SbatchOptions = Field(default_factory=dict, description="more options of sbatch, as for the trials' jobs")


class SlurmConfig(_Common):
    """Jobs of a SLURM cluster, one for each trial."""

    kind: Literal["slurm"]
    partition: Word | None = Field(default=None, description="by default the cluster's own choice")
    account: Word | None = Field(default=None, description="who is billed; by default the cluster's own choice")
    constraint: Word | None = Field(default=None, description="features that a node must have, as for sbatch")
    job_time_min: int = Field(
        strict=True,
        default=60,
        ge=1,
        le=10_000_000,
        description="time limit of a job; a trial that takes longer is requeued from its checkpoint",
    )
    cpus: int = Field(strict=True, default=1, ge=1, le=1024, description="CPUs of each job, and threads of its worker")
    gpus: int = Field(strict=True, default=0, ge=0, le=64, description="graphics cards of each job")
    sbatch: SbatchOptions = Field(
        default_factory=dict,
        description="more options of sbatch, e.g. {qos: long, exclude: node7}; true: without a value",
    )
    setup: tuple[str, ...] = Field(
        default=(), description="shell commands before a job's Python, e.g. [module load cuda]"
    )
    driver: DriverConfig = DriverConfig()

    @property
    def threads_per_worker(self) -> int:
        """Returns the threads of each worker, at least 1."""
        return self.threads or self.cpus


def _kind_of(section: Any) -> str:
    kind = section.get("kind", "local") if isinstance(section, Mapping) else getattr(section, "kind", "local")
    return str(kind)


ExecutionConfig: TypeAlias = Annotated[
    Annotated[LocalConfig, Tag("local")] | Annotated[SlurmConfig, Tag("slurm")] | Annotated[DaskConfig, Tag("dask")],
    Discriminator(_kind_of),
]
"""Where trials run; ``kind`` says which, and is "local" where it is left out."""


def _n_cores() -> int:
    # A container or a SLURM job often gives fewer cores than the machine has; not every system can say so.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
