"""What each hyperparameter of a configuration means: to the conversion, to the training, to the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from dsnn_hpo.evaluation._config import TaskConfig
from dsnn_hpo.evaluation._operators import OperatorSettings
from dsnn_hpo.operators import ShiftConfig
from dsnn_hpo.search_space import HYPERPARAMETERS, N_STAGES, stage_hyperparameter
from dsnn_hpo.training import TrainingSettings
from dsnn_hpo.trial import Trial

DEFAULT_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration, sorted by who reads it.

    ``max_epochs`` is the configuration's own cap on its training length, or None.
    """

    operators: OperatorSettings
    training: TrainingSettings
    model_arguments: Mapping[str, Any]
    max_epochs: int | None

    def n_epochs(self, fidelity: int) -> int:
        """Returns how long the configuration trains at a fidelity: so many epochs, its own cap at most."""
        return min(fidelity, self.max_epochs or fidelity)


def settings_of(trial: Trial, task: TaskConfig, max_epochs: int) -> Settings:
    """Returns the settings of a trial; every hyperparameter goes to exactly one reader, unknown ones to the network.

    Args:
        max_epochs: the maximal fidelity, over which the learning rate's schedule is laid.
    """
    left = dict(trial.config)
    operators = _operators(left)
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
        operators=operators,
        training=training,
        model_arguments={**task.model_arguments, **left},
        max_epochs=None if cap is None else int(cap),
    )


def _operators(left: dict[str, Any]) -> OperatorSettings:
    """Returns what is said of the conversion, and takes it out of what is left."""
    shift = ShiftConfig(**_take(left, {f.name for f in fields(ShiftConfig)}))
    name = left.pop("operator", None)
    names = _of_stages(left, "operator")
    depth = left.pop("shift_depth", None)
    # Where no operator is named, the published conversion: every linear layer becomes a shift layer.
    last_layer = HYPERPARAMETERS["last_layer"].default if name or names else "convert"
    return OperatorSettings(
        shift=shift,
        name=name,
        stage_names=names,
        stage_weight_bits={stage: int(bits) for stage, bits in _of_stages(left, "weight_bits").items()},
        depth=None if depth is None else int(depth),
        first_layer=left.pop("first_layer", HYPERPARAMETERS["first_layer"].default),
        last_layer=left.pop("last_layer", last_layer),
    )


def _of_stages(left: dict[str, Any], what: Literal["operator", "weight_bits"]) -> dict[int, Any]:
    names = {stage: stage_hyperparameter(stage + 1, what) for stage in range(N_STAGES)}
    return {stage: left.pop(name) for stage, name in names.items() if name in left}


def _take(left: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: left.pop(name) for name in list(left) if name in names}
