"""Where an evaluation keeps what it makes, in a run folder."""

from __future__ import annotations

from pathlib import Path

from dsnn_hpo.trial import Trial


def checkpoint_folder(folder: Path, trial: Trial) -> Path:
    """Returns where, in a run folder, the checkpoints of a trial's configuration lie."""
    return folder / "checkpoints" / trial.key


def model_folder(folder: Path, trial_id: int) -> Path:
    """Returns where, in a run folder, a trial's frozen network lies, if it was trained as long as any and can be frozen."""
    return folder / "models" / str(trial_id)
