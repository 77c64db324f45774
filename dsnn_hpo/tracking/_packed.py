"""A trial's network as the registry of models takes it: the packed folder, and what MLflow is to say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsnn_hpo.tracking._records import Point, RunRecord, figure_names
from dsnn_hpo.trial import Result


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed model on disk.

    Attributes:
        folder: of the model, as ``deploy.save_model`` wrote it.
        input_shape: channels, height and width of an image.
        dataset: the name of what it was trained on.
        data_digest: of that data set; empty if it is not known.
    """

    folder: Path
    input_shape: tuple[int, int, int]
    dataset: str
    data_digest: str


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A logged model as it should be: of which trial and configuration, its figures, and whether it is on the front."""

    trial: int
    key: str
    step: int
    params: Mapping[str, str]
    points: tuple[Point, ...]
    on_front: bool


def model_record(result: Result, child: RunRecord) -> ModelRecord:
    """Returns the logged model of a trial, whose configuration has this run: its latest figures are points of it."""
    names, fidelity = figure_names(result), result.trial.fidelity
    points: dict[str, Point] = {}
    for point in (point for part in child.parts for point in part):
        known = points.get(point.name)
        if point.name in names and point.step == fidelity and (known is None or known.time_ms <= point.time_ms):
            points[point.name] = point
    on_front = child.tags["pareto"] == "true"
    return ModelRecord(result.trial.id, child.key, fidelity, child.params, tuple(points.values()), on_front)
