"""Trials in jobs of a SLURM cluster, submitted with submitit; and the driver as such a job."""

from dsnn_hpo.execution.slurm._driver import check_driver, submit_driver
from dsnn_hpo.execution.slurm._executor import SlurmExecutor
from dsnn_hpo.execution.slurm._request import check_jobs

__all__ = ["SlurmExecutor", "check_driver", "check_jobs", "submit_driver"]
