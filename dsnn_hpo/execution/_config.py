"""The `execution:` section of an experiment file."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field


class ExecutionConfig(BaseModel):
    """Where trials run: worker processes on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(
        strict=True, default=1, ge=1, le=1024, description="trials that run at the same time, each in its own process"
    )
    threads: int | None = Field(
        strict=True,
        default=None,
        ge=1,
        le=1024,
        description="threads of each worker; by default the processor's cores divided among them",
    )

    @property
    def threads_per_worker(self) -> int:
        """Returns the threads of each worker, at least 1."""
        return self.threads or max(1, _n_cores() // self.workers)


def _n_cores() -> int:
    # A container or a SLURM job often gives fewer cores than the machine has; not every system can say so.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
