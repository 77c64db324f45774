"""The hypervolume over what the search has spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsnn_hpo.journal import History
from dsnn_hpo.report._hypervolume import hypervolume_points
from dsnn_hpo.report._matplotlib import QUIET, dress
from dsnn_hpo.report._plotly import menu, new_figure
from dsnn_hpo.report._points import RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from plotly.graph_objects import Figure

_EPOCHS = "epochs trained, all configurations"
_JOULES = "energy of the search (J)"
_VALUE = "relative hypervolume of the front"


def hypervolume_figure(history: History) -> Figure | None:
    """Returns the hypervolume as a figure, with buttons for epochs and joules; None while there is none."""
    points = hypervolume_points(history)
    if not points:
        return None
    figure = new_figure()
    epochs, joules = [p.n_epochs for p in points], [p.energy_j for p in points]
    figure.add_scatter(
        x=epochs,
        y=[p.value for p in points],
        mode="lines",
        line={"shape": "hv", "color": RED, "width": 2},
        fill="tozeroy",
        fillcolor="rgba(200, 16, 46, 0.08)",
        customdata=[f"{p.n_epochs:,} epochs<br>{p.energy_j:,.4g} J" for p in points],
        hovertemplate="%{customdata}<br>hypervolume <b>%{y:.4f}</b><extra></extra>",
    )
    buttons = [
        {"label": text, "method": "update", "args": [{"x": [values]}, {"xaxis.title.text": axis}]}
        for text, values, axis in (("over epochs", epochs, _EPOCHS), ("over joules", joules, _JOULES))
    ]
    figure.update_layout(xaxis_title=_EPOCHS, yaxis_title=_VALUE, updatemenus=[menu("buttons", buttons, 0.0)])
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(rangemode="tozero")
    return figure


def draw_both(drawing: Drawing, history: History) -> None:
    """Draws the hypervolume over epochs and, beside it, over joules."""
    left, right = drawing.subplots(1, 2, sharey=True)
    draw_hypervolume(left, history)
    draw_hypervolume(right, history, joules=True)
    right.set_ylabel("")


def draw_hypervolume(axes: Axes, history: History, joules: bool = False) -> None:
    """Draws the hypervolume over epochs, or over joules."""
    points = hypervolume_points(history)
    dress(axes, _JOULES if joules else _EPOCHS, _VALUE)
    if not points:
        text = "no hypervolume yet:\ntoo few completed trials"
        axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=QUIET)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    spent = [p.energy_j if joules else float(p.n_epochs) for p in points]
    volumes = [p.value for p in points]
    axes.step(spent, volumes, where="post", color=RED, linewidth=1.8)
    axes.fill_between(spent, volumes, step="post", color=RED, alpha=0.08, linewidth=0)
    axes.set_ylim(0, max(volumes) * 1.08 or 1)
    axes.set_xlim(left=0)
