"""One pass of a history over MLflow, and what is remembered between passes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dsnn_hpo.errors import ArtifactError, ModelFolderError, TrackingError
from dsnn_hpo.journal import History
from dsnn_hpo.tracking._address import run_link, view_link
from dsnn_hpo.tracking._packed import ModelRecord, model_record
from dsnn_hpo.tracking._records import Point, Records, trial_names
from dsnn_hpo.tracking._rendered import Content, Rendered, table_json
from dsnn_hpo.tracking._view import view_tag
from dsnn_hpo.trial import Result

if TYPE_CHECKING:
    from dsnn_hpo.tracking.mlflow import Connection

_REFRESH_S = 15.0
_REFRESH_SHARE = 0.02
# The whole page has megabytes, and who wants it while the search runs?
_PAGE_S = 600.0
_MODELS_A_REFRESH = 3
_RENDERED = "dsnn_hpo.rendered"
_PAGE = "dsnn_hpo.page"
REPORT = "report.html"
_EXPERIMENT_FILE = "dsnn_hpo.experiment_file"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the mirror writes; ``experiment`` None: the name in the journal's header."""

    uri: str
    experiment: str | None
    artifact_root: Path | None


class Session:
    """Writes histories of one journal, each longer than the one before, to MLflow."""

    def __init__(self, target: Target, content: Content) -> None:
        self._target = target
        self._content = content
        self._records: Records | None = None
        self._connection: Connection | None = None
        self._pending: set[str] = set()
        self._next_refresh = self._next_page = 0.0
        self._stale = False
        self._former_members: set[int] = set()
        self.experiment_id: str | None = None
        self.run_id: str | None = None

    def sync(self, history: History, final: bool, progress: Progress = lambda _done, _of: None) -> None:
        """Writes what is new; figures of the front, and models, only now and then, unless this pass is the final one.

        Args:
            history: of the journal.
            final: whether this is the last pass for now.
            progress: is told how many child runs are written, and of how many.

        Raises:
            ArtifactError: all metrics and tags are written, but the store refused files.
            TrackingError: the store refused or did not answer; the next pass starts by reading what it holds.
            ModelFolderError: all is written but a model, which is damaged.
        """
        if self._records is None:
            self._records = Records(history.header)
        records = self._records
        self._pending |= records.advance(history)
        try:
            connection = self._connect(history, records)
            refreshes = final or time.monotonic() >= self._next_refresh
            # Until then who is in flight waits: of a short trial the run is then written once, and not twice.
            keys = self._pending if refreshes else {key for key in self._pending if not records.in_flight(key)}
            self._write(connection, records, keys, progress)
            self._stale = True
            if refreshes:
                # Its counts grow with every result: a call each that nobody would miss.
                connection.write(records.parent())
                self._refresh(connection, history, final)
            elif time.monotonic() >= self._next_page:
                # Not in the pass that draws the front: each holds the mirror up for a second or two.
                self._show_page(connection, history, records)
        except ArtifactError:
            # Only its files are missing, and the next refresh writes them.
            raise
        except TrackingError:
            self._connection = None
            raise

    def refresh_due_s(self) -> float | None:
        """Returns the seconds until the figures of the front are to be drawn again, None if they are up to date."""
        return max(0.0, self._next_refresh - time.monotonic()) if self._stale else None

    def log_model(self, result: Result) -> str:
        """Returns the id of the logged model of a trial, after writing it; only after a pass.

        Raises:
            InputError: there is no packed model of it, or it is damaged.
            TrackingError: the store refused or did not answer.
        """
        assert self._connection is not None
        packed = self._content.packed(result)
        if packed is None:
            raise ModelFolderError(f"trial {result.trial.id} has no packed model in the run folder")
        record = self._model(result)
        return self._connection.models.write(record, packed, self._connection.run_id(record.key))

    def _connect(self, history: History, records: Records) -> Connection:
        if self._connection is None:
            from dsnn_hpo.tracking.mlflow import Connection

            target = self._target
            connection = Connection(target.uri, target.experiment or history.header.name, target.artifact_root)
            connection.attach(history.header, records.parent())
            self._pending = set(records.keys)
            self._connection = connection
            self.experiment_id, self.run_id = connection.experiment_id, connection.run_id("")
        return self._connection

    def _write(
        self,
        connection: Connection,
        records: Records,
        keys: Collection[str],
        progress: Progress = lambda _done, _of: None,
    ) -> None:
        ordered = sorted(keys, key=records.first_trial)
        for number, key in enumerate(ordered, start=1):
            connection.write(records.child(key))
            self._pending.discard(key)
            progress(number, len(ordered))

    def _refresh(self, connection: Connection, history: History, final: bool) -> None:
        assert self._records is not None
        started = time.monotonic()
        self._pending |= self._records.take_moved()
        self._write(connection, self._records, self._pending)
        trouble: ModelFolderError | None = None
        try:
            self._show(connection, history, self._records)
            if final:
                self._show_page(connection, history, self._records)
            self._stale = self._log_models(connection, history, final)
        except ModelFolderError as error:
            self._stale, trouble = False, error
        finally:
            # However slow figures are to draw, they take a small share of one core.
            now = time.monotonic()
            self._next_refresh = now + max(_REFRESH_S, (now - started) / _REFRESH_SHARE)
        if trouble is not None:
            raise trouble

    def _show(self, connection: Connection, history: History, records: Records) -> None:
        """Draws the front; what the store may refuse, the files, comes last."""
        if connection.tag(_RENDERED) == str(records.n_figures):
            return
        rendered = self._content.front(history)
        n_known = len(rendered.hypervolume)
        times, joules = (
            records.told_ms[len(records.told_ms) - n_known :],
            records.told_j[len(records.told_j) - n_known :],
        )
        connection.write_hypervolume(
            [
                (Point("hypervolume", value, time_ms, n_epochs), Point("hypervolume_over_joules", value, time_ms, j))
                for (n_epochs, value), time_ms, j in zip(rendered.hypervolume, times, joules, strict=True)
            ]
        )
        experiment_id, parent_id = connection.experiment_id, connection.run_id("")
        table = rendered.markdown(lambda r: run_link("", experiment_id, connection.run_id(r.trial.key)))
        connection.write_tags(
            {
                "mlflow.note.content": _description(table, experiment_id, parent_id, self._content.page is not None),
                "mlflow.loggedArtifacts": json.dumps([{"path": "pareto_front.json", "type": "table"}]),
            }
        )
        connection.write_view(*view_tag(history.header, parent_id, _varied(history)))
        files, tags = _files(rendered), {_RENDERED: str(records.n_figures)}
        if connection.tag(_EXPERIMENT_FILE) is None:
            files["experiment.yaml"] = history.header.experiment_text.encode()
            tags[_EXPERIMENT_FILE] = "experiment.yaml"
        connection.write_files(files, tags)

    def _show_page(self, connection: Connection, history: History, records: Records) -> None:
        self._next_page = time.monotonic() + _PAGE_S
        state = str(records.n_figures)
        if self._content.page is not None and connection.tag(_PAGE) != state:
            connection.write_files({REPORT: self._content.page(history).encode()}, {_PAGE: state})

    def _log_models(self, connection: Connection, history: History, final: bool) -> bool:
        """Returns whether there is more to log; who has just joined the front waits, for it may leave it soon."""
        members = history.front()
        ready = members if final else [m for m in members if m.trial.id in self._former_members]
        self._former_members = {m.trial.id for m in members}
        damaged = []
        n_logged = 0
        for member in ready:
            record = self._model(member)
            if connection.models.has(record) or (not final and n_logged == _MODELS_A_REFRESH):
                continue
            try:
                packed = self._content.packed(member)
            except ModelFolderError as error:
                damaged.append(str(error))
                continue
            if packed is not None:
                connection.models.write(record, packed, connection.run_id(record.key))
                n_logged += 1
        connection.models.mark_front(self._former_members)
        if damaged:
            raise ModelFolderError("; ".join(damaged))
        return not final and (n_logged == _MODELS_A_REFRESH or len(ready) < len(members))

    def _model(self, result: Result) -> ModelRecord:
        assert self._records is not None
        return model_record(result, self._records.child(result.trial.key))


def _varied(history: History) -> list[str]:
    """Returns the names of the hyperparameters of which there are several values: a constant takes an axis for nothing."""
    values: dict[str, set[str]] = {}
    for result in history.results:
        for name, value in zip(trial_names(result.trial), result.trial.config.values(), strict=True):
            values.setdefault(name, set()).add(repr(value))
    return [name for name, found in values.items() if len(found) > 1]


def _files(rendered: Rendered) -> dict[str, bytes]:
    return {
        "pareto_front.html": rendered.html.encode(),
        "pareto_front.png": rendered.png,
        "pareto_front.json": table_json(rendered.rows),
    }


def _description(front: str, experiment_id: str, parent_id: str, has_page: bool) -> str:
    """Returns the text of the parent's page, whose first lines only are seen at once: the gist, links, the table."""
    gist, _, rest = front.partition("\n")
    page = run_link("", experiment_id, parent_id, "pareto_front.html")
    links = f"[Interactive front]({page}) · [charts of all configurations]({view_link('', experiment_id, parent_id)})"
    if has_page:
        links += (
            f" · [report: what mattered, ranks from rung to rung]({run_link('', experiment_id, parent_id, REPORT)})"
        )
    picture = f"![The Pareto front](get-artifact?path=pareto_front.png&run_uuid={parent_id})"
    # The page sets the columns of a table without a gap; spaces that do not break make one.
    lines = [x if "---" in x else x.replace(" | ", "\u00a0\u00a0\u00a0 | ") for x in rest.splitlines()]
    return "\n".join([f"{gist} {links}", *lines, "", picture, ""])
