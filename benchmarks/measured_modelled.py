"""Fronts by measured and by modelled energy, side by side, of runs whose results carry both.

    python benchmarks/measured_modelled.py RUN [RUN ...] [--again] [--png FILE]

Of each run: its configurations at the front's fidelity over both energies, those on either front marked; and how far the
two energies order them alike (Spearman's rank correlation). A search measures in one short window beside other workers;
`--again` measures every configuration here, alone, in long ones (half a minute each; better on a quiet machine).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dsnn_hpo import pareto
from dsnn_hpo.evaluation import measure_again
from dsnn_hpo.experiment import RunFolder, config_of
from dsnn_hpo.experiment._build import build_again
from dsnn_hpo.journal import read
from dsnn_hpo.trial import Result

ENERGIES = {
    "inference_energy_j": "measured on the executor (J/1000 samples)",
    "hardware_energy_uj": "modelled (uJ/sample)",
}
COLOURS = {"inference_energy_j": "#c8102e", "hardware_energy_uj": "#175cd3"}


@dataclass(frozen=True, slots=True)
class Run:
    """A run: its name, its configurations with both energies, and which of them are on the front by each."""

    name: str
    results: tuple[Result, ...]
    fronts: dict[str, np.ndarray]

    def values(self, name: str) -> np.ndarray:
        """Returns a figure of each configuration."""
        return np.array([result.values[name] for result in self.results])


def run_of(folder: Path, again: bool) -> Run:
    """Returns what a run folder holds; raises KeyError if its results lack one of the energies."""
    history = read(folder / "journal.jsonl")
    results = tuple(pareto.latest(history.latest_results(), history.front_fidelity))
    if again:
        results = _measured_again(folder, results)
    error = [result.values["error"] for result in results]
    fronts = {
        name: pareto.non_dominated(np.column_stack([error, [r.values[name] for r in results]])) for name in ENERGIES
    }
    return Run(history.header.name, results, fronts)


def _measured_again(folder: Path, results: Sequence[Result]) -> tuple[Result, ...]:
    run = RunFolder(folder)
    task = build_again(config_of(read(run.journal).header), run).task(folder)
    task = replace(task, objectives=("inference_energy_j",))
    fresh = {}
    for result in random.sample(results, len(results)):
        fresh[result.trial.id] = measure_again(result.trial, task)
        print(f"trial {result.trial.id}: {fresh[result.trial.id].values}", file=sys.stderr, flush=True)
    return tuple(replace(r, values={**r.values, **fresh[r.trial.id].values}) for r in results)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Returns Spearman's rank correlation of two figures without ties to speak of."""
    return float(np.corrcoef(np.argsort(np.argsort(x)), np.argsort(np.argsort(y)))[0, 1])


def print_table(run: Run) -> None:
    """Prints the members of either front as a table in Markdown."""
    names = list(ENERGIES)
    measured, modelled = (run.values(name) for name in names)
    on = [run.fronts[name] for name in names]
    print(f"\n{run.name}: {len(run.results)} configurations; on both fronts {int((on[0] & on[1]).sum())}, only by the "
          f"measured energy {int((on[0] & ~on[1]).sum())}, only by the modelled {int((~on[0] & on[1]).sum())}; "
          f"rank correlation {rank_correlation(measured, modelled):.2f}\n")  # fmt: skip
    print(
        "| trial | validation error | measured (J/1000) | modelled (uJ) | on the front by |\n|---:|---:|---:|---:|---|"
    )
    for i in np.argsort(run.values("error")):
        by = [word for word, mask in zip(("measured", "modelled"), on, strict=True) if mask[i]]
        if by:
            result = run.results[i]
            print(f"| {result.trial.id} | {result.values['error']:.1%} | {measured[i]:.3g} | {modelled[i]:.3g} | "
                  f"{' and '.join(by)} |")  # fmt: skip


def draw(runs: Sequence[Run], file: Path) -> None:
    """Writes the picture."""
    figure = Figure(figsize=(11, 4.2 * len(runs)), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(runs), 2, squeeze=False)
    for row, run in zip(axes, runs, strict=True):
        for panel, name in zip(row, ENERGIES, strict=True):
            _draw_panel(panel, run, name)
    canvas.print_figure(file)


def _draw_panel(axes: Axes, run: Run, name: str) -> None:
    x, error = run.values(name), run.values("error")
    axes.scatter(x, error, s=22, color="#98a2b3", alpha=0.7, linewidths=0)
    for other, colour in COLOURS.items():
        mask = run.fronts[other]
        order = np.flatnonzero(mask)[np.argsort(x[mask])]
        filled = {"color": colour} if other == name else {"facecolors": "none", "edgecolors": colour, "linewidths": 1.6}
        word = "measured" if other == "inference_energy_j" else "modelled"
        size = 52 if other == name else 120
        axes.scatter(x[order], error[order], s=size, zorder=3, label=f"front by {word} energy", **filled)
        if other == name:
            axes.step(x[order], error[order], where="post", color=colour, linewidth=1.6, zorder=2)
    axes.set(xscale="log", yscale="log", xlabel=f"energy, {ENERGIES[name]}", ylabel="validation error", title=run.name)
    axes.grid(color="#e9edf2")
    axes.set_axisbelow(True)
    axes.legend(frameon=False)


def main() -> None:
    """Prints the tables and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--again", action="store_true", help="measure all configurations here")
    parser.add_argument("--png", type=Path)
    arguments = parser.parse_args()
    runs = [run_of(folder, arguments.again) for folder in arguments.runs]
    for run in runs:
        print_table(run)
    if arguments.png:
        draw(runs, arguments.png)


if __name__ == "__main__":
    main()
