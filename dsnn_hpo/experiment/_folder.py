"""A run's folder: what lies where in it, and the lock that keeps a second driver out."""

from __future__ import annotations

import fcntl
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dsnn_hpo.errors import RunFolderError
from dsnn_hpo.evaluation import model_folder
from dsnn_hpo.journal import History, read

DEFAULT_ROOT = Path("runs")
LOCK_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The places in a run folder."""

    path: Path

    @property
    def journal(self) -> Path:
        """Returns the journal's file."""
        return self.path / "journal.jsonl"

    @property
    def experiment(self) -> Path:
        """Returns the copy of the experiment file."""
        return self.path / "experiment.yaml"

    @property
    def hardware(self) -> Path:
        """Returns the copy of the user's own table of energies; there is none if the table ships with dsnn-hpo."""
        return self.path / "hardware.yaml"

    @property
    def space(self) -> Path:
        """Returns the copy of the search space's file."""
        return self.path / "search_space.yaml"

    @property
    def split(self) -> Path:
        """Returns the train/validation/test split."""
        return self.path / "split.npz"

    @property
    def warm_start(self) -> Path:
        """Returns the copy of what earlier runs found; there is none if the experiment names no earlier run."""
        return self.path / "warm_start.jsonl"

    @property
    def snapshot(self) -> Path:
        """Returns the optimizer's state, as it was some events ago."""
        return self.path / "optimizer.pickle"

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    @property
    def report(self) -> Path:
        """Returns the folder of figures and tables."""
        return self.path / "report"

    def model(self, trial_id: int) -> Path:
        """Returns the folder of a trial's frozen network; only trials that trained as long as any have one."""
        return model_folder(self.path, trial_id)

    def create(self) -> None:
        """Makes the folder; raises RunFolderError if it holds a run or anything but a run's unfinished preparation."""
        if self.journal.exists():
            raise RunFolderError(f"{self.path} already holds a run; continue it with: {resume_line(self.path)}")
        if "?" in str(self.path):
            raise RunFolderError(f"{self.path}: a run folder's path cannot have a '?', which ends a database's address")
        if self.path.exists() and not (self.path.is_dir() and self._holds_preparation_only()):
            raise RunFolderError(f"{self.path} exists and is not an empty folder; choose another one with --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot make the run folder: {error.strerror}") from None

    def _holds_preparation_only(self) -> bool:
        # A driver that was killed before its journal began leaves these; names with a dot were being written.
        own = {path.name for path in (self._lock, self.experiment, self.space, self.split, self.warm_start)}
        return all(child.name in own or child.name.startswith(".") for child in self.path.iterdir())

    def require_run(self) -> None:
        """Checks that the folder holds a run; raises RunFolderError otherwise."""
        if not self.journal.exists():
            found = "there is no such folder" if not self.path.exists() else "it has no journal.jsonl"
            raise RunFolderError(f"{self.path} holds no run: {found}")

    def lock(self) -> IO[str]:
        """Returns the open lock file; the lock ends with it, or with the process, however that dies.

        Raises:
            RunFolderError: another driver is at work in this folder; names its process.
        """
        file = self._lock.open("a+")
        if not _is_locked_soon(file):
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise RunFolderError(f"{self.path} is in use by another dsnn-hpo (process {owner})") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file

    def driver(self) -> str:
        """Returns the process that is at work in this folder, as text; empty if there is none."""
        try:
            with self._lock.open("r") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read().strip() or "unknown"
        except FileNotFoundError:
            pass
        return ""


def _is_locked_soon(file: IO[str]) -> bool:
    """Returns whether the lock could be had; who only looks whether it is free holds it for a moment."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOCK_PATIENCE_S / 10)
        else:
            return True


def resume_line(path: Path) -> str:
    """Returns the command that carries on a run, ready for a shell."""
    return f"dsnn-hpo resume {shlex.quote(str(path))}"


def default_folder(name: str) -> Path:
    """Returns a folder for a new run: ``runs/NAME/TIME``, local time to the second, with a number if that is taken."""
    base = DEFAULT_ROOT / name / time.strftime("%Y%m%d-%H%M%S")
    path, n_taken = base, 1
    while path.exists():
        n_taken += 1
        path = base.with_name(f"{base.name}-{n_taken}")
    return path


def read_run(path: str | Path) -> History:
    """Returns what a run's journal holds, also while it is running; raises RunFolderError or JournalError."""
    folder = RunFolder(Path(path))
    folder.require_run()
    return read(folder.journal)
