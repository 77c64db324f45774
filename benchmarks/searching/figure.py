"""The figure of the comparison: hypervolume over cost, median and quartiles of each entrant, a panel a problem."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from searching.jobs import Record
from searching.scores import chosen, scores_of

COSTS = tuple(np.geomspace(2, 60, 60).tolist())
COLOURS = ("#98a2b3", "#5c6b82", "#e08a00", "#b54708", "#12805c", "#6941c6", "#175cd3", "#0e9384", "#84adff")
OURS, RELATED = "#c8102e", "#f0a0ad"
"""Of the entrant compared with the others, and of those whose labels begin with its own."""
N_COLUMNS = 4


def draw(records: Sequence[Record], path: Path, ours: str, continues: bool = False) -> None:
    """Writes the figure as PNG or SVG, by the ending of its name; without problems in common there is nothing to draw.

    Raises:
        ValueError: there is no problem that all entrants have, or the name ends otherwise.
    """
    if path.suffix not in (".png", ".svg"):
        raise ValueError(f"{path.name}: a figure is a .png or an .svg")
    scores = scores_of(chosen(records, 1, continues), COSTS)
    if not scores.problems:
        raise ValueError("there is no problem that all entrants have")
    n_rows = -(-len(scores.problems) // N_COLUMNS)
    figure = Figure(figsize=(3.2 * N_COLUMNS, 2.6 * n_rows + 0.6), layout="constrained")
    canvas = FigureCanvasAgg(figure) if path.suffix == ".png" else FigureCanvasSVG(figure)
    panels = figure.subplots(n_rows, N_COLUMNS, squeeze=False, sharex=True).ravel()
    related = [label for label in scores.labels if label != ours and label.startswith(ours)]
    others = [label for label in scores.labels if not label.startswith(ours)]
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(others)}
    colours |= dict.fromkeys(related, RELATED) | {ours: OURS}
    for i, problem in enumerate(scores.problems):
        for label in [*others, *related, *([ours] if ours in scores.labels else [])]:
            low, middle, high = np.nanquantile(scores.of(label)[i], [0.25, 0.5, 0.75], axis=-1)
            width = 2.2 if label == ours else 1.2
            panels[i].plot(COSTS, middle, color=colours[label], linewidth=width, label=label)
            panels[i].fill_between(COSTS, low, high, color=colours[label], alpha=0.12, linewidth=0)
        panels[i].set(title=problem, xscale="log", ylim=(0, None))
        panels[i].set_xticks([2, 5, 15, 30, 60], labels=["2", "5", "15", "30", "60"])
        panels[i].minorticks_off()
        panels[i].grid(color="#e9edf2")
    for panel in panels[len(scores.problems) :]:
        panel.axis("off")
    figure.supxlabel("cost in full trainings")
    figure.supylabel("share of the best hypervolume")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
    canvas.print_figure(path)
