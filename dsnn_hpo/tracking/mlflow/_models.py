"""Packed models as MLflow's logged models: pyfunc flavour, signature, figures, data set; nothing is pickled."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from dsnn_hpo.tracking._packed import ModelRecord, Packed
from dsnn_hpo.tracking._records import Point
from dsnn_hpo.tracking.mlflow._store import asking

_LOADER = "dsnn_hpo.deploy.pyfunc"
_RUN = "dsnn_hpo.run_id"
_TRIAL = "dsnn_hpo.trial"
_FIGURES = "dsnn_hpo.figures"
_FRONT = "pareto"
_CONTENT = "model"
_PAGE = 100
_DIGEST_LENGTH = 36


@dataclass(slots=True)
class _Known:
    """What stands in MLflow of a model, as read and written since."""

    model_id: str
    is_ready: bool
    tags: dict[str, str]


class LoggedModels:
    """The logged models of one run of ours: one a trial, written once; found again by their tags."""

    def __init__(self, uri: str, client: MlflowClient, experiment_id: str) -> None:
        self._uri = uri
        self._client = client
        self._experiment_id = experiment_id
        self._run = ""
        self._known: dict[int, _Known] | None = None

    def of_run(self, run: str) -> None:
        """Says whose models these are; they are read when first needed."""
        self._run, self._known = run, None

    def has(self, record: ModelRecord) -> bool:
        """Returns whether a model is there in full, its latest figures included."""
        known = self._all().get(record.trial)
        return known is not None and known.is_ready and known.tags.get(_FIGURES) == _figures(record.points)

    def write(self, record: ModelRecord, packed: Packed, child_id: str) -> str:
        """Returns the id of a model of the child run, after writing what is not there of it.

        Raises:
            ArtifactError: the store refuses the files.
            TrackingError: it refuses anything else, or does not answer.
        """
        known = self._all().get(record.trial)
        is_new = known is None
        if known is None:
            known = self._create(record, child_id)
        if not known.is_ready:
            with (
                tempfile.TemporaryDirectory(prefix="dsnn_hpo_") as folder,
                asking(self._uri, for_files=True),
            ):
                _save(Path(folder), packed, known.model_id, child_id)
                self._client.log_model_artifacts(known.model_id, folder)
        with asking(self._uri):
            if known.tags.get(_FIGURES) != (figures := _figures(record.points)):
                self._log_figures(record, packed, known.model_id, child_id)
                self._tag(known, {_FIGURES: figures})
            if not known.is_ready:
                # Unlike all else here, this would be there twice if it were written twice.
                if is_new or not self._is_output(known.model_id, child_id):
                    self._client.log_outputs(child_id, [LoggedModelOutput(known.model_id, record.step)])
                self._client.finalize_logged_model(known.model_id, LoggedModelStatus.READY)
                known.is_ready = True
        return known.model_id

    def mark_front(self, trials: Collection[int]) -> None:
        """Tags the models: which belong to members of the front, and which to former ones."""
        with asking(self._uri):
            for trial, known in self._all().items():
                self._tag(known, {_FRONT: "true" if trial in trials else "false"})

    def _all(self) -> dict[int, _Known]:
        if self._known is None:
            self._known = {}
            with asking(self._uri):
                # Of two of the same (an answer was lost on its way) the one that is complete stays.
                for model in sorted(self._search(), key=lambda m: (m.status != LoggedModelStatus.READY, m.model_id)):
                    trial = int(model.tags[_TRIAL])
                    if trial in self._known:
                        self._client.delete_logged_model(model.model_id)
                    else:
                        is_ready = model.status == LoggedModelStatus.READY
                        self._known[trial] = _Known(model.model_id, is_ready, dict(model.tags))
        return self._known

    def _search(self) -> list[LoggedModel]:
        models: list[LoggedModel] = []
        token: str | None = None
        while True:
            page = self._client.search_logged_models(
                [self._experiment_id], f"tags.`{_RUN}` = '{self._run}'", max_results=_PAGE, page_token=token
            )
            models += page
            token = page.token
            if not token:
                return models

    def _create(self, record: ModelRecord, child_id: str) -> _Known:
        tags = {_RUN: self._run, _TRIAL: str(record.trial), _FRONT: "true" if record.on_front else "false"}
        with asking(self._uri):
            model = self._client.create_logged_model(
                self._experiment_id,
                name=f"trial-{record.trial}",
                source_run_id=child_id,
                tags=tags,
                params=dict(record.params),
                model_type="packed",
            )
        known = _Known(model.model_id, False, tags)
        self._all()[record.trial] = known
        return known

    def _log_figures(self, record: ModelRecord, packed: Packed, model_id: str, child_id: str) -> None:
        digest = packed.data_digest[:_DIGEST_LENGTH]
        if digest:
            data = Dataset(packed.dataset, digest, "dsnn-hpo", json.dumps({"name": packed.dataset}))
            self._client.log_inputs(child_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        metrics = [
            Metric(
                key=p.name,
                value=p.value,
                timestamp=p.time_ms,
                step=p.step,
                model_id=model_id,
                run_id=child_id,
                **({"dataset_name": packed.dataset, "dataset_digest": digest} if digest else {}),
            )
            for p in record.points
        ]
        self._client.log_batch(child_id, metrics, synchronous=True)

    def _is_output(self, model_id: str, child_id: str) -> bool:
        outputs = self._client.get_run(child_id).outputs
        return outputs is not None and any(model.model_id == model_id for model in outputs.model_outputs)

    def _tag(self, known: _Known, tags: dict[str, str]) -> None:
        fresh = {name: value for name, value in tags.items() if known.tags.get(name) != value}
        if fresh:
            self._client.set_logged_model_tags(known.model_id, fresh)
            known.tags |= fresh


def _save(folder: Path, packed: Packed, model_id: str, child_id: str) -> None:
    """Writes MLflow's description of a model beside its packed folder."""
    n_channels, height, width = packed.input_shape
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, n_channels, height, width))]),
        outputs=Schema(
            [
                ColSpec(DataType.long, "index"),
                ColSpec(DataType.string, "label"),
                ColSpec(DataType.double, "probability"),
            ]
        ),
    )
    shutil.copytree(packed.folder, folder / _CONTENT)
    size = sum(file.stat().st_size for file in (folder / _CONTENT).iterdir())
    model = Model(
        artifact_path=_CONTENT, run_id=child_id, signature=signature, model_id=model_id, model_size_bytes=size
    )
    environment = {"virtualenv": "python_env.yaml"}
    model.add_flavor(
        "python_function",
        loader_module=_LOADER,
        python_version=platform.python_version(),
        data=_CONTENT,
        env=environment,
    )
    model.save(str(folder / "MLmodel"))
    (folder / "requirements.txt").write_text(f"dsnn-hpo=={version('dsnn-hpo')}\n")
    (folder / "python_env.yaml").write_text(
        f"python: {platform.python_version()}\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n"
    )


def _figures(points: Sequence[Point]) -> str:
    """Returns what the figures of a model are recognised by."""
    return "; ".join(f"{point.name} {point.value!r}" for point in points)
