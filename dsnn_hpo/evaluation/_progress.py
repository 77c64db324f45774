"""How far a trial is: a small file in the run folder, for whoever watches, and for the bill of an attempt that is lost."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from dsnn_hpo.trial import Trial


@dataclass(frozen=True, slots=True)
class Progress:
    """What a trial's latest checkpoint holds.

    Attributes:
        n_epochs: trained for the trial alone, in all attempts at it.
        energy_j: of these epochs.
        epoch: of the checkpoint.
    """

    n_epochs: int
    energy_j: float
    epoch: int

    def write(self, path: Path) -> None:
        """Returns nothing; writes the file aside and then in place of ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        aside.write_text(json.dumps(asdict(self)), encoding="utf-8")
        aside.replace(path)


def progress_path(folder: Path, trial: Trial) -> Path:
    """Returns where, in a run folder, a trial tells how far it is."""
    return folder / "progress" / f"{trial.id:05d}.json"


def read_progress(folder: Path, trial: Trial) -> Progress:
    """Returns how far a trial is; one that did not begin, or whose file is no such file, has kept nothing."""
    try:
        return Progress(**json.loads(progress_path(folder, trial).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return Progress(0, 0.0, 0)
