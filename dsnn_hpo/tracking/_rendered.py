"""What the mirror shows of the front, made by whoever opens the mirror (the report is a sibling)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsnn_hpo.journal import History
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
