"""What an evaluation keeps while it trains: checkpoints, their energy, and how far it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dsnn_hpo.energy import Meter
from dsnn_hpo.errors import TrialInterruptedError
from dsnn_hpo.evaluation._places import checkpoint_folder
from dsnn_hpo.evaluation._progress import Progress, progress_path
from dsnn_hpo.training import Checkpoint, load_checkpoint
from dsnn_hpo.trial import Trial

CHECKPOINT_EVERY_S = 10.0


class Recorder:
    """Measures and keeps the training of one trial; the meter's window is open while it trains.

    Attributes:
        first_epoch: the epoch at which the trial began, in this attempt at it or in an earlier one.
        n_epochs: trained so far for the trial alone, in all attempts, as far as they are kept.
        energy_j: of these epochs.
    """

    def __init__(
        self, trial: Trial, folder: Path, meter: Meter, start: Checkpoint | None, should_stop: Callable[[], bool]
    ) -> None:
        self._trial = trial
        self._checkpoints = checkpoint_folder(folder, trial)
        self._progress = progress_path(folder, trial)
        self._meter = meter
        self._should_stop = should_stop
        self._kept_at = time.monotonic()
        self._total_j = start.train_energy_j if start else 0.0
        self._co2_g = start.co2_g if start else 0.0
        self.first_epoch = self.n_epochs = 0
        self.energy_j = 0.0
        if start is not None and start.trial_id == trial.id:
            self.first_epoch, self.energy_j = start.start_epoch, start.energy_j
            self.n_epochs = start.epoch - start.start_epoch
        elif start is not None:
            self.first_epoch = start.epoch
        self._report()

    def after_epoch(self, snapshot: Callable[[], Checkpoint]) -> None:
        """Keeps a checkpoint if the last one is old, or if the trial should stop: then raises TrialInterruptedError."""
        stops = self._should_stop()
        if not stops and time.monotonic() - self._kept_at < CHECKPOINT_EVERY_S:
            return
        checkpoint = snapshot()
        self.measure()
        # Opened at once: whoever trains closes it, whatever happens here.
        self._meter.begin()
        self.keep(checkpoint)
        if stops:
            raise TrialInterruptedError(f"trial {self._trial.id} stopped after epoch {checkpoint.epoch}")

    def measure(self) -> None:
        """Closes the meter's window and adds what it shows."""
        energy = self._meter.end()
        self.energy_j += energy.value_j
        self._total_j += energy.value_j
        self._co2_g += energy.co2_g

    def keep(self, checkpoint: Checkpoint) -> Checkpoint:
        """Returns the checkpoint with the figures so far, after writing it in place of those of fewer epochs."""
        checkpoint = replace(
            checkpoint,
            train_energy_j=self._total_j,
            co2_g=self._co2_g,
            start_epoch=self.first_epoch,
            energy_j=self.energy_j,
            trial_id=self._trial.id,
        )
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        path = _path(self._checkpoints, checkpoint.epoch)
        checkpoint.save(path)
        for other in self._checkpoints.glob("epoch-*.pt"):
            if other < path:
                with contextlib.suppress(FileNotFoundError):
                    other.unlink()
        self.n_epochs = checkpoint.epoch - self.first_epoch
        self._kept_at = time.monotonic()
        self._report()
        return checkpoint

    def _report(self) -> None:
        Progress(self.n_epochs, self.energy_j, self.first_epoch + self.n_epochs).write(self._progress)


def latest_checkpoint(folder: Path, n_epochs: int) -> Checkpoint | None:
    """Returns the checkpoint in ``folder`` of the most epochs up to ``n_epochs``, or None; raises as ``load_checkpoint``."""
    candidates = sorted(path for path in folder.glob("epoch-*.pt") if path <= _path(folder, n_epochs))
    for path in reversed(candidates):
        # The same configuration may be in flight at a higher rung, which clears away lower ones.
        with contextlib.suppress(FileNotFoundError):
            return load_checkpoint(path)
    return None


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:05d}.pt"
