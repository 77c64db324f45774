"""The folder of a run's jobs: submitit's pickles and what the jobs print, for as long as they are needed."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from dsnn_hpo.errors import ClusterError, DsnnHpoError
from dsnn_hpo.execution.slurm._job import Outcome

MAX_ERRORS = 4000
_RESULT = re.compile(r"(\d+(?:_\d+)?)_0_result\.pkl")


class JobFiles:
    """The files of a run's jobs, all in one folder that only its owner may read: pickles are loaded from nowhere else."""

    def __init__(self, run_folder: Path) -> None:
        self.folder = run_folder.resolve() / "jobs"
        if "%" in str(self.folder):
            raise ClusterError(
                f"{run_folder}: a run folder's path cannot have a '%', which SLURM reads as a job's number"
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def stop(self) -> Path:
        """Returns the file that tells the jobs to stop."""
        return self.folder / "stop"

    def with_result(self) -> set[str]:
        """Returns the ids of the jobs that have left a result."""
        # A listing sees what other machines wrote; asking for single files may not, for a while.
        return {match[1] for name in os.listdir(self.folder) if (match := _RESULT.fullmatch(name))}  # noqa: PTH208 - names

    def outcome(self, slurm_id: str) -> Outcome:
        """Returns what came of a job that left a result; raises DsnnHpoError if it is not one of ours."""
        from submitit.core.utils import UncompletedJobError
        from submitit.slurm.slurm import SlurmJob

        job: SlurmJob[Any] = SlurmJob(self.folder, slurm_id)
        try:
            outcome = job.result()
        except UncompletedJobError as error:
            lines = [line for line in str(error).splitlines() if line.strip(" -")]
            # submitit's frame of a traceback: its last lines say where to look for more.
            why = next((line for line in reversed(lines) if re.match(r"\w[\w.]*(Error|Exception)\b", line)), lines[0])
            raise DsnnHpoError(f"its job could not begin: {why}") from None
        if not isinstance(outcome, Outcome):
            raise DsnnHpoError(f"its job left something else than a result: {outcome!r:.100}")
        return outcome

    def errors(self, slurm_id: str) -> str:
        """Returns the end of what a job, not its trial, printed on standard error."""
        try:
            with (self.folder / f"{slurm_id}_0_log.err").open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_ERRORS))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def forget(self, slurm_id: str) -> None:
        """Removes the files of a job."""
        for name in ("submitted.pkl", "0_result.pkl", "0_log.out", "0_log.err"):
            self._remove(self.folder / f"{slurm_id}_{name}")

    def forget_scripts(self) -> None:
        """Removes the scripts of jobs that were submitted; SLURM has copies."""
        for pattern in (".submission_file_*.sh", "*_submission.sh"):
            for path in self.folder.glob(pattern):
                self._remove(path)

    def forget_all(self) -> None:
        """Removes what earlier sessions left."""
        for path in self.folder.iterdir():
            self._remove(path)

    def _remove(self, path: Path) -> None:
        # Left for the next session then.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
