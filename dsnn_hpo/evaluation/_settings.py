"""What each hyperparameter of a configuration means: to the conversion, to the training, to the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dsnn_hpo.evaluation._config import TaskConfig
from dsnn_hpo.operators import ShiftConfig
from dsnn_hpo.search_space import HYPERPARAMETERS
from dsnn_hpo.training import TrainingSettings
from dsnn_hpo.trial import Trial

DEFAULT_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration, sorted by who reads it.

    ``shift_depth`` counts the convolutions that are converted, from the last one on; None means all.
    ``max_epochs`` is the configuration's own cap on its training length, or None.
    """

    shift: ShiftConfig
    shift_depth: int | None
    training: TrainingSettings
    model_arguments: Mapping[str, Any]
    max_epochs: int | None


def settings_of(trial: Trial, task: TaskConfig, max_epochs: int) -> Settings:
    """Returns the settings of a trial; every hyperparameter goes to exactly one reader, unknown ones to the network.

    Args:
        max_epochs: the maximal fidelity, over which the learning rate's schedule is laid.
    """
    left = dict(trial.config)
    shift = ShiftConfig(**_take(left, {f.name for f in fields(ShiftConfig)}))
    shift_depth = left.pop("shift_depth", None)
    cap = left.pop("epochs", None)
    training = TrainingSettings(
        **{
            **{name: HYPERPARAMETERS[name].default for name in ("optimizer", "lr", "momentum", "weight_decay")},
            "batch_size": task.batch_size or DEFAULT_BATCH_SIZE,
            "schedule": task.schedule,
            **_take(left, {f.name for f in fields(TrainingSettings)}),
        },
        max_epochs=max_epochs,
        augmentation=task.augmentation,
        seed=trial.seed,
    )
    return Settings(
        shift=shift,
        shift_depth=None if shift_depth is None else int(shift_depth),
        training=training,
        model_arguments={**task.model_arguments, **left},
        max_epochs=None if cap is None else int(cap),
    )


def _take(left: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: left.pop(name) for name in list(left) if name in names}
