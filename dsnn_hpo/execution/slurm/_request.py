"""What a run asks SLURM for, and whether the cluster has it."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

from dsnn_hpo.errors import ClusterError
from dsnn_hpo.execution._config import SlurmConfig
from dsnn_hpo.execution.slurm._commands import SlurmSilentError, command

CHECKPOINT_TIME_S = 120
"""So long before its time limit a job is told to keep a checkpoint."""
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
_REFUSED = re.compile(
    r"invalid|not available|unrecognized|not permitted|denied|not allowed|violates|unknown|can not be satisfied"
    r"|cannot be satisfied|no such|disabled|exceed",
    re.IGNORECASE,
)
# Of these limits one is free of as other jobs end.
_PASSING = re.compile(r"submit limit|MaxSubmit|temporarily|timed out|contact|try again", re.IGNORECASE)


def is_refusal(complaint: str) -> bool:
    """Returns whether sbatch refused the job for good; otherwise trying again may help."""
    return bool(_REFUSED.search(complaint)) and not _PASSING.search(complaint)


def job_name(folder: Path) -> str:
    """Returns the name of all jobs of the run in a folder: they are found by it, whoever submitted them."""
    return f"dsnn-hpo-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]}"


def sbatch_options(config: SlurmConfig) -> dict[str, Any]:
    """Returns the options of sbatch for the job of a trial, but for those that have to do with time."""
    options: dict[str, Any] = {"ntasks": 1, "cpus-per-task": config.cpus, "requeue": True, **whose(config)}
    if config.constraint is not None:
        options["constraint"] = config.constraint
    if config.memory_gb is not None:
        options["mem"] = memory(config.memory_gb)
    if config.gpus:
        options["gpus-per-node"] = config.gpus
    return options | config.sbatch


def whose(config: SlurmConfig) -> dict[str, Any]:
    """Returns the options that say where a job runs and who is billed."""
    options = {"partition": config.partition, "account": config.account}
    return {name: value for name, value in options.items() if value is not None}


def memory(memory_gb: float) -> str:
    """Returns GiB in SLURM's words."""
    return f"{math.ceil(memory_gb * 1024)}M"


def checkpoint_time_s(time_min: int) -> int:
    """Returns how long before a job's time limit it is told so, s."""
    return min(CHECKPOINT_TIME_S, time_min * 15)


def in_words(options: dict[str, Any]) -> str:
    """Returns options as one gives them to sbatch."""
    return " ".join(flags(options))


def flags(options: dict[str, Any]) -> list[str]:
    """Returns options as arguments; true stands for an option without a value, false for none."""
    return [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items() if value is not False
    ]


def check_jobs(config: SlurmConfig) -> None:
    """Checks that the cluster would take the jobs of trials; raises ClusterError with what it says if not."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        raise ClusterError(f"'slurm' needs SLURM's commands; not found on this machine: {', '.join(missing)}")
    options = {**sbatch_options(config), "time": config.job_time_min}
    try_out(options)


def try_out(options: dict[str, Any]) -> None:
    """Checks that sbatch would take a job with these options; raises ClusterError. One that is silent says nothing."""
    try:
        command(["sbatch", "--test-only", *flags(options), "--wrap=true"])
    except SlurmSilentError as error:
        if is_refusal(str(error)):
            complaint = str(error).replace("allocation failure: ", "").replace("sbatch: error: ", "")
            raise ClusterError(f"SLURM refuses a job with {in_words(options)}: {complaint}") from None
