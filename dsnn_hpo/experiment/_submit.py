"""A run whose driver is a job of a SLURM cluster."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from dsnn_hpo.errors import ExperimentError
from dsnn_hpo.execution import SlurmConfig
from dsnn_hpo.experiment._folder import RunFolder
from dsnn_hpo.experiment._run import prepare
from dsnn_hpo.experiment.config import ExperimentConfig


@dataclass(frozen=True, slots=True)
class SubmittedRun:
    """A run that begins when SLURM starts the job ``driver_id``; what the driver prints goes to ``log``."""

    folder: RunFolder
    driver_id: str
    log: Path


def submit(config: ExperimentConfig, out: str | Path | None = None) -> SubmittedRun:
    """Returns a new run whose driver is submitted as a SLURM job; everything is checked before.

    Args:
        config: the experiment, whose ``execution`` is of the kind `slurm`.
        out: the run folder; by default ``runs/NAME/TIME``.

    Raises:
        InputError: as for ``run``; or SLURM refuses the job, or that of a trial.
    """
    from dsnn_hpo.execution.slurm import check_driver, submit_driver

    execution = config.execution
    if not isinstance(execution, SlurmConfig):
        raise ExperimentError(
            f"{config.place('execution.kind')}: a driver can be submitted where trials are SLURM jobs: set it to 'slurm' "
            f"(got {execution.kind!r})"
        )
    check_driver(execution)
    folder = prepare(config, out)
    path = folder.path.resolve()
    command = [sys.executable, "-m", "dsnn_hpo", "resume", str(path)]
    return SubmittedRun(folder, submit_driver(execution, path, command), folder.path / "driver.log")
