"""The `execution:` section of an experiment file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

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


def _kind_of(section: Any) -> str:
    kind = section.get("kind", "local") if isinstance(section, Mapping) else getattr(section, "kind", "local")
    return str(kind)


ExecutionConfig: TypeAlias = Annotated[Annotated[LocalConfig, Tag("local")], Discriminator(_kind_of)]
"""Where trials run; ``kind`` says which, and is "local" where it is left out."""


def _n_cores() -> int:
    # A container or a SLURM job often gives fewer cores than the machine has; not every system can say so.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
