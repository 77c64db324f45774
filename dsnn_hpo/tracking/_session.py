"""One pass of a history over MLflow, and what is remembered between passes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dsnn_hpo.errors import TrackingError
from dsnn_hpo.journal import History
from dsnn_hpo.tracking._address import run_link, view_link
from dsnn_hpo.tracking._records import Point, Records, trial_names
from dsnn_hpo.tracking._rendered import Render
from dsnn_hpo.tracking._view import view_tag

if TYPE_CHECKING:
    from dsnn_hpo.tracking.mlflow import Connection

_REFRESH_S = 15.0
_REFRESH_SHARE = 0.02
_RENDERED = "dsnn_hpo.rendered"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the mirror writes; ``experiment`` None: the name in the journal's header."""

    uri: str
    experiment: str | None
    artifact_root: Path | None


class Session:
    """Writes histories of one journal, each longer than the one before, to MLflow."""

    def __init__(self, target: Target, render: Render) -> None:
        self._target = target
        self._render = render
        self._records: Records | None = None
        self._connection: Connection | None = None
        self._pending: set[str] = set()
        self._next_refresh = 0.0
        self._stale = False
        self.experiment_id: str | None = None
        self.run_id: str | None = None

    def sync(self, history: History, final: bool) -> None:
        """Writes what is new; the figures of the front only now and then, unless this pass is the final one.

        Raises:
            TrackingError: the store refused or did not answer; the next pass starts by reading what it holds.
        """
        if self._records is None:
            self._records = Records(history.header)
        records = self._records
        self._pending |= records.advance(history)
        try:
            connection = self._connect(history, records)
            for key in sorted(self._pending, key=records.first_trial):
                connection.write(records.child(key))
                self._pending.discard(key)
            connection.write(records.parent())
            self._stale = True
            if final or time.monotonic() >= self._next_refresh:
                self._refresh(connection, history, records)
        except TrackingError:
            self._connection = None
            raise

    def refresh_due_s(self) -> float | None:
        """Returns the seconds until the figures of the front are to be drawn again, None if they are up to date."""
        return max(0.0, self._next_refresh - time.monotonic()) if self._stale else None

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

    def _refresh(self, connection: Connection, history: History, records: Records) -> None:
        from dsnn_hpo.tracking.mlflow import table_json

        if connection.tag(_RENDERED) == str(records.n_figures):
            self._stale = False
            return
        started = time.monotonic()
        rendered = self._render(history)
        times_ms = records.told_ms[len(records.told_ms) - len(rendered.hypervolume) :]
        series = zip(rendered.hypervolume, times_ms, strict=True)
        connection.write_hypervolume([Point("hypervolume", v, t, epochs) for (epochs, v), t in series])
        experiment_id, parent_id = connection.experiment_id, connection.run_id("")
        table = rendered.markdown(lambda r: run_link("", experiment_id, connection.run_id(r.trial.key)))
        files = {
            "pareto_front.html": rendered.html.encode(),
            "pareto_front.png": rendered.png,
            "pareto_front.json": table_json(rendered.rows),
        }
        tags = {
            "mlflow.note.content": _description(table, experiment_id, parent_id),
            "mlflow.loggedArtifacts": json.dumps([{"path": "pareto_front.json", "type": "table"}]),
            _RENDERED: str(records.n_figures),
        }
        connection.write_front(files, tags)
        names = list(dict.fromkeys(name for result in history.results for name in trial_names(result.trial)))
        connection.write_view(*view_tag(history.header, parent_id, names))
        # However slow figures are to draw, they take a small share of one core.
        now = time.monotonic()
        self._stale = False
        self._next_refresh = now + max(_REFRESH_S, (now - started) / _REFRESH_SHARE)


def _description(front: str, experiment_id: str, parent_id: str) -> str:
    """Returns the text of the parent's page, whose first lines only are seen at once: the gist, links, the table."""
    gist, _, rest = front.partition("\n")
    page = run_link("", experiment_id, parent_id, "pareto_front.html")
    links = f"[Interactive front]({page}) · [charts of all configurations]({view_link('', experiment_id, parent_id)})"
    picture = f"![The Pareto front](get-artifact?path=pareto_front.png&run_uuid={parent_id})"
    # The page sets the columns of a table without a gap; spaces that do not break make one.
    lines = [x if "---" in x else x.replace(" | ", "\u00a0\u00a0\u00a0 | ") for x in rest.splitlines()]
    return "\n".join([f"{gist} {links}", *lines, "", picture, ""])
