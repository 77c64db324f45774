"""Compares the fronts of two runs of one budget: joint picture, hypervolumes, which members survive beside the other's.

    python benchmarks/fronts.py RUN_DIR RUN_DIR [--png FILE] [--json FILE]

Both runs have the same objectives, two of them. They are compared after the same number of epochs, that of the run that trained
fewer: machines are not equally fast all day. The hypervolume is that of the front at the highest fidelity, as a share of
the box between the worst and the best value of either run's results there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dsnn_hpo import pareto
from dsnn_hpo.journal import History, Told, read
from dsnn_hpo.report import epochs

COLOURS = ("#c8102e", "#1769aa")


def cut(history: History, most: int) -> History:
    """Returns the run as it was before it had trained more than so many epochs."""
    n_trained = 0
    for n_events, event in enumerate(history.events):
        n_trained += event.result.n_epochs if isinstance(event, Told) else 0
        if n_trained > most:
            return History(history.header, history.events[:n_events])
    return history


def comparison(histories: Sequence[History]) -> dict[str, Any]:
    """Returns names, sizes of the fronts, hypervolumes of each and of both together, and surviving members."""
    objectives = histories[0].objectives
    if any(h.objectives != objectives or h.front_fidelity != histories[0].front_fidelity for h in histories):
        raise SystemExit("the runs have different objectives or fidelities; their fronts cannot be compared")
    every = [pareto.losses_of(pareto.completed(h.results, h.front_fidelity), objectives) for h in histories]
    both = np.concatenate(every)
    worst, best = both.max(axis=0), both.min(axis=0)
    fronts = [pareto.losses_of(h.front(), objectives) for h in histories]
    joint = np.concatenate(fronts)
    survives = np.split(pareto.non_dominated(joint), [len(fronts[0])])
    box = float((worst - best).prod())
    runs = [
        {
            "name": history.header.name,
            "n_results": len(history.results),
            "n_epochs": history.n_epochs,
            "running_s": round(history.running_s),
            "front": members.tolist(),
            "hypervolume": round(pareto.hypervolume(members, worst) / box, 4),
            "n_members_not_dominated_by_the_other": int(alive.sum()),
        }
        for history, members, alive in zip(histories, fronts, survives, strict=True)
    ]
    return {
        "objectives": [o.name for o in objectives],
        "reference": worst.tolist(),
        "ideal": best.tolist(),
        "runs": runs,
        "joint_hypervolume": round(pareto.hypervolume(joint, worst) / box, 4),
    }


def picture(histories: Sequence[History], path: Path) -> None:
    """Draws both fronts, the second objective across, and the other results at the fronts' fidelity."""
    y, x = histories[0].objectives[:2]
    figure = Figure(figsize=(8.8, 5.0), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for history, colour in zip(histories, COLOURS, strict=True):
        results = pareto.completed(history.results, history.front_fidelity)
        points = [(r.values[x.name], r.values[y.name]) for r in results]
        xs, ys = zip(*points, strict=True)
        axes.scatter(xs, ys, s=16, color=colour, alpha=0.3, linewidths=0)
        members = sorted((r.values[x.name], r.values[y.name]) for r in history.front())
        axes.step(*zip(*members, strict=True), where="post", color=colour, marker="o", label=history.header.name)
    axes.set(xscale="log", xlabel=f"{x.name} [{x.unit}]", ylabel=f"validation {y.name}")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"Two fronts at {epochs(histories[0].front_fidelity)}", loc="left")
    axes.legend(frameon=False)
    axes.grid(color="#e9edf2")
    axes.set_axisbelow(True)
    canvas.print_figure(path, format="png", dpi=160)


def main() -> None:
    """Prints the comparison; writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN_DIR")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw both fronts here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    arguments = parser.parse_args()
    histories = [read(run / "journal.jsonl") for run in arguments.runs]
    fewest = min(history.n_epochs for history in histories)
    histories = [cut(history, fewest) for history in histories]
    found = comparison(histories)
    for run in found["runs"]:
        print(
            f"{run['name']:24} {run['n_results']} trainings, {run['n_epochs']} epochs, {run['running_s']} s; "
            f"{len(run['front'])} on the front, {run['n_members_not_dominated_by_the_other']} of them not dominated by "
            f"the other; hypervolume {run['hypervolume']:.3f}"
        )
    print(f"{'both together':24} hypervolume {found['joint_hypervolume']:.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if arguments.png:
        picture(histories, arguments.png)


if __name__ == "__main__":
    main()
