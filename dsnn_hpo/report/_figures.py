"""The figures of a run: each with what it is called, how to read it, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsnn_hpo.journal import History
from dsnn_hpo.report._html import front_figure
from dsnn_hpo.report._hypervolume_figure import draw_both, hypervolume_figure
from dsnn_hpo.report._importance import FEWEST_CONFIGURATIONS, Importance, importance
from dsnn_hpo.report._importance_figure import draw_importance, draw_trade_off, importance_figure, trade_off_figure
from dsnn_hpo.report._matplotlib import Canvas, Draw, Format, picture
from dsnn_hpo.report._parallel import coordinates_of, draw_parallel, parallel_figure
from dsnn_hpo.report._png import draw_front
from dsnn_hpo.report._points import points_of
from dsnn_hpo.report._rungs import correlations, draw_rungs, rungs_figure, steps_of
from dsnn_hpo.report._words import epochs

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_CANVAS = Canvas(9.0, 5.0)
_TOO_FEW = f"It takes {FEWEST_CONFIGURATIONS} completed configurations that differ."


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A figure of a run.

    Attributes:
        name: of its files, and of its place in the page.
        title: what it shows.
        reading: a sentence on how to read it, or why there is nothing to draw.
        says: what it says, and how sure that is, in words.
        interactive: draws it with plotly; None where there is nothing to draw. Hover texts are the page's to fill in, by
            the trial's id in ``customdata``.
        draw: draws it with matplotlib; likewise.
        canvas: its size.
    """

    name: str
    title: str
    reading: str
    says: tuple[str, ...] = ()
    interactive: Callable[[], Figure | None] | None = None
    draw: Draw | None = None
    canvas: Canvas = _CANVAS

    def file(self, file_format: Format) -> bytes:
        """Returns the figure as PNG or SVG; raises ValueError if there is nothing to draw."""
        if self.draw is None:
            raise ValueError(f"there is nothing to draw of {self.name}: {self.reading}")
        return picture(self.draw, self.canvas, file_format)


def report_figures(history: History) -> list[ReportFigure]:
    """Returns a run's figures, those with nothing to draw yet too: they say why."""
    found = importance(history)
    return [
        _front(history),
        _hypervolume(history),
        _importance(found),
        *([_trade_off(found)] if len(history.objectives) > 1 else []),
        _parallel(history, found),
        _rungs(history),
    ]


def _front(history: History) -> ReportFigure:
    name, title = "front", "The Pareto front"
    points = points_of(history)
    if not points.front:
        return ReportFigure(name, title, "There is no front yet: no trial has completed.")
    reading = (
        "Each point is a configuration; no other is better than a red one in everything. Grey ones are dominated. "
        "Bars are 95 % intervals; a click on the legend shows those with fewer epochs."
    )
    if len(points.objectives) == 1:
        reading = "Each point is a trial; the red line is the best so far."
    if len(points.objectives) > 2:
        reading += " The menu chooses two objectives; the colour is the third one's."
    return ReportFigure(
        name,
        title,
        reading,
        interactive=lambda: front_figure(history),
        draw=lambda drawing: draw_front(drawing.subplots(), history),
    )


def _hypervolume(history: History) -> ReportFigure:
    name, title = "hypervolume", "What the search gained, and for how much"
    figure = hypervolume_figure(history)
    if figure is None:
        return ReportFigure(name, title, "There is no hypervolume yet: it takes eight completed trials.")
    return ReportFigure(
        name,
        title,
        "The larger the hypervolume, the better the front; where the curve is flat, the search found nothing better. "
        "1 is as good in everything as the best of the first eight results.",
        interactive=lambda: figure,
        draw=lambda drawing: draw_both(drawing, history),
        canvas=Canvas(11.0, 4.5),
    )


def _importance(found: Importance | None) -> ReportFigure:
    name, title = "importance", "Which hyperparameters matter"
    if found is None:
        return ReportFigure(name, title, f"Nothing can be said of importance yet. {_TOO_FEW}")
    return ReportFigure(
        name,
        title,
        "The longer a bar, the more of an objective's variance that hyperparameter is the cause of, over the whole range "
        "that was searched; a × b is what the two do together, beyond what each does alone. Whiskers are the spread over "
        "a random forest's trees (functional ANOVA). Pale bars are not to be relied on.",
        says=tuple(found.sentences()),
        interactive=lambda: importance_figure(found),
        draw=lambda drawing: draw_importance(drawing, found),
        canvas=Canvas(9.0, 6.0),
    )


def _trade_off(found: Importance | None) -> ReportFigure:
    name, title = "trade_off", "Which hyperparameters matter for the trade-off"
    if found is None:
        return ReportFigure(name, title, f"Nothing can be said of the trade-off yet. {_TOO_FEW}")
    if trade_off_figure(found) is None:
        text = "Nothing can be said: the forest cannot foretell the weighted sum of the objectives at any weight."
        return ReportFigure(name, title, text)
    return ReportFigure(
        name,
        title,
        "Each curve is a hyperparameter's share of the variance of the objectives' weighted sum: on the right only the first "
        "objective counts, on the left only the others. There is no curve where the forest foretells too little.",
        interactive=lambda: trade_off_figure(found),
        draw=lambda drawing: draw_trade_off(drawing, found),
    )


def _parallel(history: History, found: Importance | None) -> ReportFigure:
    name, title = "parallel_coordinates", "Configurations and what came of them"
    coordinates = coordinates_of(history, found)
    if coordinates is None:
        return ReportFigure(name, title, "It takes two completed configurations that differ.")
    n_left_out = coordinates.n_left_out
    return ReportFigure(
        name,
        title,
        f"Each line is a configuration at {epochs(history.front_fidelity)}, and crosses each axis at its value; red ones are "
        "on the front. Where red lines meet, good configurations agree.",
        says=(f"Not shown: {n_left_out} more, which matter less.",) if n_left_out else (),
        interactive=lambda: parallel_figure(coordinates),
        draw=lambda drawing: draw_parallel(drawing, coordinates),
        canvas=Canvas(max(9.0, 1.05 * len(coordinates.titles)), 5.5),
    )


def _rungs(history: History) -> ReportFigure:
    name, title = "rungs", "What short trainings were worth"
    steps = steps_of(history)
    if not steps:
        one = len({r.trial.fidelity for r in history.results if r.values}) < 2
        text = "All trials were trained equally long." if one else "No two configurations were trained for two lengths."
        return ReportFigure(name, title, f"{text} There are no ranks to compare.")
    n_rows = len(history.objectives)
    return ReportFigure(
        name,
        title,
        "Each line is a configuration that was trained further, from its rank among these after the shorter training to that "
        "after the longer one. Few crossings, ρ near 1: the short training told the good ones from the bad.",
        says=tuple(correlations(steps, objective) for objective in history.objectives),
        interactive=lambda: rungs_figure(steps, history.objectives),
        draw=lambda drawing: draw_rungs(drawing, steps, history.objectives),
        canvas=Canvas(9.0, 3.2 * n_rows + 0.6),
    )
