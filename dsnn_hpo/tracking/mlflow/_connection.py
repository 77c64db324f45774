"""The runs of a journal in an MLflow store."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Experiment, Metric, Param, Run, RunTag

from dsnn_hpo.errors import TrackingError
from dsnn_hpo.journal import Header
from dsnn_hpo.tracking._address import is_server, sqlite_path
from dsnn_hpo.tracking._records import Point, RunRecord
from dsnn_hpo.tracking.mlflow._models import LoggedModels
from dsnn_hpo.tracking.mlflow._store import asking, client_of

_WRITTEN = "dsnn_hpo.written"
_HYPERVOLUME = "dsnn_hpo.hypervolume_written"
_PARENT = "mlflow.parentRunId"
_N_METRICS = 900
_N_PARAMS = 90
_PAGE = 1000


@dataclass(slots=True)
class _Known:
    """What stands in MLflow of a run, as read on attaching and written since."""

    run_id: str
    status: str
    name: str
    end_ms: int | None = None
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def n_written(self) -> int:
        return int(self.tags.get(_WRITTEN, 0))


class Connection:
    """The runs of one experiment run in an MLflow store: writes only what is not there yet.

    Every method raises TrackingError if the store refuses or does not answer; the connection is then not to be used
    again, for what was written is not known: a new one reads it.
    """

    def __init__(self, uri: str, experiment: str, artifact_root: Path | None) -> None:
        self._uri = uri
        with asking(self._uri):
            if (path := sqlite_path(uri)) is not None:
                path.absolute().parent.mkdir(parents=True, exist_ok=True)
            self._client = client_of(uri)
            self._experiment = self._find_experiment(experiment, artifact_root)
        self.experiment_id: str = self._experiment.experiment_id
        self._runs: dict[str, _Known] = {}
        self.models = LoggedModels(uri, self._client, self.experiment_id)

    def attach(self, header: Header, parent: RunRecord) -> None:
        """Finds the runs of a journal, or starts the parent run."""
        with asking(self._uri):
            run_tag = f"tags.`dsnn_hpo.run_id` = '{header.run_id}'"
            found = self._adopt(self._search(run_tag), "dsnn_hpo.run_id")
            self._runs = {"": found[header.run_id]} if header.run_id in found else {}
            self._write(parent)
            self.models.of_run(header.run_id)
            if found:
                children = self._search(f"tags.`{_PARENT}` = '{self.run_id('')}'")
                self._runs |= self._adopt(children, "dsnn_hpo.key")

    def write(self, record: RunRecord) -> None:
        """Writes what a record has and its run in MLflow has not."""
        with asking(self._uri):
            self._write(record)

    def run_id(self, key: str) -> str:
        """Returns the MLflow run of a configuration; of the parent, if the key is empty."""
        return self._runs[key].run_id

    def tag(self, name: str) -> str | None:
        """Returns a tag of the parent run as last read or written."""
        return self._runs[""].tags.get(name)

    def write_tags(self, tags: Mapping[str, str]) -> None:
        """Writes those tags of the parent run that are not there yet."""
        with asking(self._uri):
            self._log(self._runs[""], tags=tags)

    def write_hypervolume(self, steps: Sequence[Sequence[Point]]) -> None:
        """Writes the points of those steps of the hypervolume that are not there yet."""
        parent = self._runs[""]
        n_written = int(parent.tags.get(_HYPERVOLUME, 0))
        if len(steps) > n_written:
            points = [point for step in steps[n_written:] for point in step]
            with asking(self._uri):
                self._log(parent, points=points, tags={_HYPERVOLUME: str(len(steps))})

    def write_files(self, files: Mapping[str, bytes], tags: Mapping[str, str]) -> None:
        """Writes artifacts of the parent run, replacing older ones, and then its tags.

        Raises:
            ArtifactError: the store refuses the files; the connection can be used further.
            TrackingError: as everywhere.
        """
        with tempfile.TemporaryDirectory(prefix="dsnn_hpo_") as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            with asking(self._uri, for_files=True):
                self._client.log_artifacts(self.run_id(""), folder)
        self.write_tags(tags)

    def write_view(self, name: str, value: str) -> None:
        """Writes a tag of the experiment, unless it is there already."""
        if self._experiment.tags.get(name) != value:
            with asking(self._uri):
                self._client.set_experiment_tag(self.experiment_id, name, value)
            self._experiment.tags[name] = value

    def _find_experiment(self, name: str, artifact_root: Path | None) -> Experiment:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            # A server decides itself where artifacts go; without one MLflow would take the working directory.
            local = artifact_root is not None and not is_server(self._uri)
            location = artifact_root.absolute().as_uri() if local and artifact_root else None
            experiment = self._client.get_experiment(self._client.create_experiment(name, location))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(f"the MLflow experiment {name!r} was deleted; restore it, or set tracking.experiment")
        return experiment

    def _search(self, filter_: str) -> list[Run]:
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self.experiment_id], filter_, max_results=_PAGE, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _adopt(self, runs: Sequence[Run], tag: str) -> dict[str, _Known]:
        """Returns the runs by a tag's value; of two of the same (an answer was lost on its way) one is deleted."""
        known: dict[str, _Known] = {}
        for run in sorted(runs, key=lambda r: (-int(r.data.tags.get(_WRITTEN, 0)), r.info.run_id)):
            value = run.data.tags[tag]
            if value in known:
                self._client.delete_run(run.info.run_id)
            else:
                info = run.info
                known[value] = _Known(info.run_id, info.status, info.run_name or "", info.end_time, dict(run.data.tags))
        return known

    def _write(self, record: RunRecord) -> None:
        known = self._runs.get(record.key) or self._create(record)
        points = [point for part in record.parts[known.n_written :] for point in part]
        if record.membership is not None and known.tags.get("pareto") != record.tags["pareto"]:
            points.append(record.membership)
        new = _WRITTEN not in known.tags
        tags = {**record.tags, _WRITTEN: str(len(record.parts))}
        if record.name != known.name:
            tags["mlflow.runName"] = record.name
            known.name = record.name
        self._log(known, points=points, params=record.params if new else {}, tags=tags)
        if record.status == "RUNNING":
            if known.status != "RUNNING":
                self._client.update_run(known.run_id, status="RUNNING")
        elif (record.status, record.end_ms) != (known.status, known.end_ms):
            self._client.set_terminated(known.run_id, status=record.status, end_time=record.end_ms)
            known.end_ms = record.end_ms
        known.status = record.status

    def _create(self, record: RunRecord) -> _Known:
        # What finds the run again is set as it is created: were it set afterwards, a crash between would orphan it.
        # Not who is on the front: that tag says that the metric of the same meaning has been written.
        tags = {name: value for name, value in record.tags.items() if name != "pareto"}
        if record.key:
            tags[_PARENT] = self._runs[""].run_id
        run = self._client.create_run(self.experiment_id, start_time=record.start_ms, tags=tags, run_name=record.name)
        known = _Known(run.info.run_id, run.info.status, record.name, tags=tags)
        self._runs[record.key] = known
        return known

    def _log(
        self,
        known: _Known,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Writes in batches; the tags, which say what has been written, with the last (in which MLflow sets them last)."""
        fresh = {k: v for k, v in (tags or {}).items() if known.tags.get(k) != v}
        metrics = [Metric(p.name, p.value, p.time_ms, p.step) for p in points]
        rest = [Param(k, v) for k, v in (params or {}).items()]
        while len(metrics) > _N_METRICS or len(rest) > _N_PARAMS:
            self._client.log_batch(known.run_id, metrics[:_N_METRICS], rest[:_N_PARAMS], synchronous=True)
            metrics, rest = metrics[_N_METRICS:], rest[_N_PARAMS:]
        if metrics or rest or fresh:
            run_tags = [RunTag(k, v) for k, v in fresh.items()]
            self._client.log_batch(known.run_id, metrics, rest, run_tags, synchronous=True)
        known.tags |= fresh
