"""The state of a training between two rungs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch

from dsnn_hpo.errors import TrialError
from dsnn_hpo.trial import Epoch

FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """All that a training needs to go on after ``epoch`` epochs; tensors on the CPU.

    ``train_energy_j`` and ``co2_g`` are the figures of all rungs so far. Training carries them along unchanged; who
    measures adds to them. ``start_epoch`` is the epoch at which the latest rung's training began; ``energy_j`` is the
    energy of that training alone and ``trial_id`` the trial that it was for, both set by who measures.
    """

    epoch: int
    network_state: Mapping[str, Any]
    optimizer_state: Mapping[str, Any]
    curve: tuple[Epoch, ...]
    train_energy_j: float = 0.0
    co2_g: float = 0.0
    start_epoch: int = 0
    energy_j: float = 0.0
    trial_id: int | None = None

    def save(self, path: Path) -> None:
        """Returns nothing; writes the checkpoint aside, synced, and then in place of ``path``."""
        content = {
            "format": FORMAT,
            "epoch": self.epoch,
            "network_state": dict(self.network_state),
            "optimizer_state": dict(self.optimizer_state),
            "curve": [list(astuple(epoch)) for epoch in self.curve],
            "train_energy_j": self.train_energy_j,
            "co2_g": self.co2_g,
            "start_epoch": self.start_epoch,
            "energy_j": self.energy_j,
            "trial_id": self.trial_id,
        }
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with aside.open("wb") as stream:
                torch.save(content, stream)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint that ``Checkpoint.save`` wrote; nothing but tensors and plain values is unpickled.

    Raises:
        TrialError: the file is damaged, or holds something else.
        FileNotFoundError: there is no file.
    """
    try:
        # Torch also reads formats of old, with warnings; ours are archives.
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise ValueError("it is no archive")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        return Checkpoint(
            epoch=content["epoch"],
            network_state=content["network_state"],
            optimizer_state=content["optimizer_state"],
            curve=tuple(Epoch(*row) for row in content["curve"]),
            train_energy_j=content["train_energy_j"],
            co2_g=content["co2_g"],
            start_epoch=content["start_epoch"],
            energy_j=content["energy_j"],
            trial_id=content["trial_id"],
        )
    except FileNotFoundError:
        raise
    # Torch raises any of these on a file that is cut off, altered, or no checkpoint at all.
    except (
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrialError(
            f"{path}: is not a readable checkpoint ({reason}); delete it to train from the beginning"
        ) from error
