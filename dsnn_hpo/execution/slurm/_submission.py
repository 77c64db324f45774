"""Submitting jobs with submitit."""

from __future__ import annotations

from collections.abc import Sequence

from dsnn_hpo.errors import ClusterError
from dsnn_hpo.execution._config import SlurmConfig
from dsnn_hpo.execution.slurm._files import JobFiles
from dsnn_hpo.execution.slurm._job import JobCall
from dsnn_hpo.execution.slurm._request import checkpoint_time_s, in_words, is_refusal, sbatch_options

# submitit counts the time limits that a job reached; ours counts all its restarts.
NO_LIMIT = 1_000_000


class NotSubmittedError(Exception):
    """SLURM did not take jobs, for now."""


class Submitter:
    """Submits jobs: one by one, or as an array where there are several.

    Args:
        config: what each asks for.
        name: of all jobs.
        files: where submitit's files go.
    """

    def __init__(self, config: SlurmConfig, name: str, files: JobFiles) -> None:
        from submitit.slurm.slurm import SlurmExecutor

        self._options = sbatch_options(config)
        self._files = files
        self._executor = SlurmExecutor(files.folder, max_num_timeout=NO_LIMIT)
        threads = config.threads_per_worker
        self._executor.update_parameters(
            job_name=name,
            time=config.job_time_min,
            signal_delay_s=checkpoint_time_s(config.job_time_min),
            setup=[*config.setup, f"export OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads}"],
            # A step has one CPU unless it asks for more, and then as many tasks as there is room for unless it asks for one.
            srun_args=["--ntasks=1", f"--cpus-per-task={config.cpus}"],
            array_parallelism=config.workers,
            additional_parameters=self._options,
            wckey=None,
        )

    def submit(self, calls: Sequence[JobCall]) -> list[str]:
        """Returns SLURM's ids of the jobs.

        Raises:
            NotSubmittedError: it may be tried again. Some jobs may be there all the same.
            ClusterError: that would not help.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            return [job.job_id for job in self._executor.submit_array(calls)]
        except (FailedJobError, FailedSubmissionError) as error:
            if is_refusal(str(error)):
                raise ClusterError(f"SLURM refuses a job with {in_words(self._options)}: {error}") from None
            raise NotSubmittedError(str(error)) from None
        except OSError as error:
            raise NotSubmittedError(f"{error.filename or self._files.folder}: {error.strerror}") from None
        finally:
            self._files.forget_scripts()
