"""What the mirror shows of a run, made by whoever opens the mirror (the report and the models are siblings)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsnn_hpo.journal import History
from dsnn_hpo.tracking._packed import Packed
from dsnn_hpo.trial import Result

Link = Callable[[Result], str]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The front as a page, a picture, a table and rows; and the hypervolume over cumulative epochs.

    ``hypervolume`` holds (cumulative epochs, value) for each of the last results told, one a result, as
    ``report.hypervolume_series`` gives it: later ones are only ever added.
    """

    html: str
    png: bytes
    markdown: Callable[[Link], str]
    rows: Sequence[Mapping[str, Any]]
    hypervolume: Sequence[tuple[int, float]]


Render = Callable[[History], Rendered]


@dataclass(frozen=True, slots=True)
class Content:
    """How what the mirror shows is made; all of it is called from the mirror's thread.

    Attributes:
        front: drawn now and then, and at the end.
        page: the whole report as HTML, which is large: at the end and rarely before; None: there is none.
        packed: a trial's packed model, None where there is none; raises ModelFolderError if it is damaged.
    """

    front: Render
    page: Callable[[History], str] | None = None
    packed: Callable[[Result], Packed | None] = lambda _: None


def table_json(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Returns rows in the format of MLflow's ``log_table`` (which itself would append to an older table)."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return json.dumps({"columns": columns, "data": [[row.get(c) for c in columns] for row in rows]}).encode()
