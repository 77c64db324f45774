"""The schema of `experiment.yaml`, and reading one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from dsnn_hpo.energy import EnergyConfig
from dsnn_hpo.errors import ExperimentError, one_of
from dsnn_hpo.evaluation import TaskConfig
from dsnn_hpo.execution import ExecutionConfig, LocalConfig
from dsnn_hpo.experiment._messages import explain, line_numbers
from dsnn_hpo.journal import Header
from dsnn_hpo.optimizers import OptimizerConfig
from dsnn_hpo.search_space import find_space, read_yaml
from dsnn_hpo.tracking import TrackingConfig
from dsnn_hpo.trial import OBJECTIVES, Fidelity, Scalar


class FidelityConfig(BaseModel):
    """How long configurations train, in epochs; rungs are a factor ``eta`` apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_epochs: int = Field(strict=True, ge=1, le=100_000, description="the shortest training")
    max_epochs: int = Field(
        strict=True, ge=1, le=100_000, description="the longest training; the front consists of these"
    )
    eta: int = Field(
        strict=True, default=3, ge=2, le=100, description="one in eta configurations goes on to the next rung"
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_epochs > self.max_epochs:
            raise ValueError(f"min_epochs {self.min_epochs} is above max_epochs {self.max_epochs}")
        return self


class BudgetConfig(BaseModel):
    """When the search ends: at whichever of these comes first; at least one is needed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: int | None = Field(
        strict=True, default=None, ge=1, le=10_000_000, description="trials, every rung counting as one"
    )
    full_trainings: float | None = Field(
        strict=True, default=None, gt=0, le=1e6, description="epochs trained in all, divided by max_epochs"
    )
    wall_time_s: float | None = Field(
        strict=True, default=None, gt=0, le=1e9, description="seconds; trials that run when they are over are finished"
    )

    energy_wh: float | None = Field(
        strict=True,
        default=None,
        gt=0,
        le=1e9,
        description="watt-hours of the whole study: training, measuring and lost attempts; what runs when they are used "
        "up is finished",
    )

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.trials is None and self.full_trainings is None and self.wall_time_s is None and self.energy_wh is None:
            raise ValueError("give at least one of trials, full_trainings, wall_time_s, energy_wh")
        return self


def _known_objective(name: str) -> str:
    if name not in OBJECTIVES:
        raise ValueError(f"unknown objective {one_of(name, OBJECTIVES)}")
    return name


def _all_different(names: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"given twice: {', '.join(repeated)}")
    return names


class ExperimentConfig(BaseModel):
    """An experiment: what is learnt, what is searched, for which objectives, and how far."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="dsnn-hpo experiment")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100, description="letters, digits, and any of _ . -"
    )
    task: TaskConfig
    search_space: str = Field(
        description="a file in ConfigSpace's YAML, relative to this one, or the name of a shipped space: "
        "dsnn, dsnn_paper, hybrid, operator"
    )
    fixed: dict[str, Scalar] = Field(
        default_factory=dict,
        description="hyperparameters with the values that all configurations have, e.g. {operator: adder}; none that "
        "the search space searches",
    )
    objectives: Annotated[
        tuple[Annotated[str, AfterValidator(_known_objective)], ...], AfterValidator(_all_different)
    ] = Field(
        min_length=1,
        max_length=4,
        description="; ".join(f"{o.name}: {o.description} ({o.unit})" for o in OBJECTIVES.values()),
        json_schema_extra={"items": {"enum": list(OBJECTIVES)}},
    )
    fidelity: FidelityConfig
    optimizer: OptimizerConfig = Field(default="bayesian", validate_default=True)
    budget: BudgetConfig
    execution: ExecutionConfig = LocalConfig()
    energy: EnergyConfig = EnergyConfig()
    tracking: TrackingConfig = TrackingConfig()
    front_seeds: int = Field(
        strict=True,
        default=0,
        ge=0,
        le=100,
        description="further seeds with which the front is trained again after the search; errors are then means, with "
        "intervals that tell luck from merit",
    )
    seed: int = Field(
        strict=True, default=0, ge=0, le=2**31 - 1, description="fixes splits, proposals, initial weights, batches"
    )

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _text: str = PrivateAttr(default="")
    _text_says: dict[str, Any] = PrivateAttr(default_factory=dict)
    _source: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path:
        """Returns the folder that relative paths and the user's own network are looked for in."""
        return self._folder

    @property
    def text(self) -> str:
        """Returns the experiment as YAML: as it was written, if that is still what it says, else written anew."""
        # A copy with changes keeps the text of its original.
        if self._text and self._text_says == self.model_dump():
            return self._text
        return yaml.safe_dump(self.as_written(), sort_keys=False)

    def as_written(self) -> dict[str, Any]:
        """Returns the keys that were given, as JSON values; ``from_mapping`` makes the same experiment of them."""
        return self.model_dump(mode="json", exclude_unset=True)

    @property
    def rungs(self) -> Fidelity:
        """Returns the fidelity range as the search's own type."""
        return Fidelity(self.fidelity.min_epochs, self.fidelity.max_epochs, self.fidelity.eta)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Returns the experiment that a YAML file describes.

        Raises:
            ExperimentError: the file cannot be read, or a key is unknown, missing or has a wrong value; the message
                names file, line, key path, the value and what is allowed.
        """
        file = Path(path)
        data = read_yaml(file, ExperimentError)
        if not isinstance(data, dict):
            kind = type(data).__name__ if data is not None else "nothing"
            raise ExperimentError(f"{file}: an experiment is a mapping of keys to values; this file holds {kind}")
        config = cls.from_mapping(data, file.parent.resolve(), file)
        config._text = file.read_text(encoding="utf-8")
        config._text_says = config.model_dump()
        config._source = file
        return config

    @classmethod
    def from_mapping(cls, data: dict[str, Any], folder: Path, source: Path | None = None) -> Self:
        """Returns the experiment that a mapping describes; relative paths in it start from ``folder``."""
        try:
            config = cls.model_validate(data)
        except ValidationError as error:
            raise ExperimentError(explain(error, data, cls, source)) from None
        config._folder = folder
        return config

    def place(self, key_path: str) -> str:
        """Returns where a key such as ``task.model`` stands, for an error message: file, line and key path."""
        if self._source is None:
            return key_path
        lines, path = line_numbers(self._source), tuple(key_path.split("."))
        line = lines.get(path) or lines.get(path[:-1])
        return f"{self._source}{f':{line}' if line else ''}: {key_path}"

    @property
    def data_path(self) -> Path | None:
        """Returns where the data set lies, as an absolute path, or None for the set's own default."""
        path = self.task.path
        return None if path is None else (self._folder / os.path.expanduser(path)).resolve()  # noqa: PTH111 - never raises

    @property
    def hardware_table(self) -> str:
        """Returns the name of the table of costs, or the absolute path of the user's own."""
        name = self.energy.hardware
        is_path = Path(name).suffix or Path(name).name != name
        return str((self._folder / os.path.expanduser(name)).resolve()) if is_path else name  # noqa: PTH111 - as above

    @property
    def tracking_uri(self) -> str | None:
        """Returns MLflow's tracking URI, a SQLite file's path made absolute, or None for the default store."""
        uri = self.tracking.uri
        match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/?].*)", uri or "")
        return f"{match[1]}{self._folder / match[2]}" if match else uri

    @property
    def space_path(self) -> Path:
        """Returns the search space's file; raises SearchSpaceError if there is none."""
        return find_space(self.search_space, self._folder)


def config_of(header: Header) -> ExperimentConfig:
    """Returns the experiment that a journal's header holds."""
    return ExperimentConfig.from_mapping(dict(header.experiment), Path(header.folder))
