"""Shipped experiments with one optimizer and with another: after how many epochs the first has what the second has in the end.

    python benchmarks/search_experiments.py run [--experiments digits fashion_mnist] [--optimizers bayesian smac] [--seeds 5] [--until N]
    python benchmarks/search_experiments.py report [--figure FILE] [--json FILE]

Each search is a run of `experiments/NAME.yaml` as it is shipped, but for `optimizer` and `seed`, in a folder
`build/bench-experiments/NAME/OPTIMIZER/SEED`; what is finished is not done again, what was interrupted is resumed. `--until`
ends a search after so many full trainings, in place of the experiment's own budget. The hypervolume is that of the front at the
highest fidelity, in the box of all runs of an experiment; epochs are those that were trained, going on from a checkpoint
counting the rest only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dsnn_hpo import pareto
from dsnn_hpo.comparing import common_box
from dsnn_hpo.experiment import read_run
from dsnn_hpo.journal import History
from dsnn_hpo.report._hypervolume import hypervolume_in

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "bench-experiments"
TARGET_SHARE = 0.5
COLOURS = ("#c8102e", "#175cd3", "#12805c", "#b54708", "#6941c6")

Series = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Reached:
    """How soon a run of ours had what the other optimizer's run of the same seed had in the end.

    Attributes:
        seed: of both.
        epochs: ours had trained then; None if it never got there.
        peer_epochs: that the other one had trained in all.
        value, peer_value: hypervolumes in the end.
    """

    seed: int
    epochs: int | None
    peer_epochs: int
    value: float
    peer_value: float

    @property
    def share(self) -> float:
        """Returns the share of the other's epochs that ours needed; infinite if it never got there."""
        return np.inf if self.epochs is None else self.epochs / self.peer_epochs


def run(arguments: argparse.Namespace) -> None:
    """Carries out the searches that are missing, seed by seed."""
    for seed in range(arguments.seeds):
        for name in arguments.experiments:
            for optimizer in arguments.optimizers:
                folder = arguments.folder / name / optimizer / str(seed)
                if (folder / "journal.jsonl").exists():
                    command = ["resume", str(folder)]
                    if is_finished(folder):
                        continue
                else:
                    command = ["run", str(_experiment_file(name, optimizer, seed, arguments)), "--out", str(folder)]
                print(f"{name}, {optimizer}, seed {seed}", flush=True)
                subprocess.run([sys.executable, "-m", "dsnn_hpo", *command], check=True, stdout=subprocess.DEVNULL)


def is_finished(folder: Path) -> bool:
    """Returns whether the run in a folder spent its budget."""
    return read_run(folder).finished


def _experiment_file(name: str, optimizer: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Returns an experiment file beside the shipped ones' copies, with the optimizer and seed in place."""
    data = yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text())
    data |= {"optimizer": optimizer, "seed": seed}
    if arguments.until is not None:
        data["budget"] = {"full_trainings": arguments.until}
    path = Path(arguments.folder, name, optimizer, f"{seed}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def report(arguments: argparse.Namespace) -> None:
    """Prints what the runs say, and writes what is asked for."""
    found: dict[str, dict[str, dict[int, Series]]] = {}
    summary = {}
    for name in arguments.experiments:
        runs = read_runs(arguments.folder / name, arguments.optimizers)
        if not all(runs.get(optimizer) for optimizer in arguments.optimizers):
            print(f"{name}: no runs of {' and '.join(o for o in arguments.optimizers if not runs.get(o))}")
            continue
        found[name] = series_of(runs)
        ours, peer = arguments.optimizers
        reached = reached_by(found[name][ours], found[name][peer])
        summary[name] = [asdict(each) for each in reached]
        print(described(name, ours, peer, reached))
    if arguments.json:
        arguments.json.write_text(json.dumps(summary, indent=1) + "\n")
    if arguments.figure and found:
        draw(found, arguments.figure)


def read_runs(folder: Path, optimizers: Sequence[str]) -> dict[str, dict[int, History]]:
    """Returns the runs of an experiment that are there, by optimizer and seed."""
    return {
        optimizer: {
            int(run.parent.name): read_run(run.parent) for run in sorted(folder.glob(f"{optimizer}/*/journal.jsonl"))
        }
        for optimizer in optimizers
    }


def series_of(runs: Mapping[str, Mapping[int, History]]) -> dict[str, dict[int, Series]]:
    """Returns (epochs, hypervolume) after each result of each run, in the box of all their fronts."""
    every = [history for by_seed in runs.values() for history in by_seed.values()]
    fronts = [pareto.losses_of(history.front(), history.objectives) for history in every]
    box = common_box(fronts)
    return {
        optimizer: {seed: hypervolume_in(history, box) for seed, history in by_seed.items()}
        for optimizer, by_seed in runs.items()
    }


def reached_by(ours: Mapping[int, Series], peer: Mapping[int, Series]) -> list[Reached]:
    """Returns how soon each run of ours had what its peer of the same seed had in the end."""
    reached = []
    for seed in sorted(ours.keys() & peer.keys()):
        peer_epochs, peer_value = peer[seed][-1]
        epochs = next((n for n, value in ours[seed] if value >= peer_value), None)
        reached.append(Reached(seed, epochs, peer_epochs, ours[seed][-1][1], peer_value))
    return reached


def described(name: str, ours: str, peer: str, reached: Sequence[Reached]) -> str:
    """Returns the figures as text."""
    lines = [f"{name}: {ours} against {peer}"]
    for each in reached:
        got = f"after {each.epochs} epochs ({each.share:.0%})" if each.epochs is not None else "not reached"
        lines.append(
            f"  seed {each.seed}: {peer} has {each.peer_value:.4f} after {each.peer_epochs} epochs; "
            f"{ours}: {got}, in the end {each.value:.4f}"
        )
    middle = float(np.median([each.share for each in reached]))
    n_met = sum(each.share <= TARGET_SHARE for each in reached)
    verdict = "met" if middle <= TARGET_SHARE else "MISSED"
    lines.append(
        f"  median share of the epochs {middle:.0%}, at most {TARGET_SHARE:.0%} asked: {verdict}; {n_met} of {len(reached)} seeds"
    )
    return "\n".join(lines)


def draw(found: Mapping[str, Mapping[str, Mapping[int, Series]]], path: Path) -> None:
    """Writes hypervolume over epochs as PNG or SVG: every run thin, the median of each optimizer bold."""
    figure = Figure(figsize=(5.2 * len(found), 3.6), layout="constrained")
    canvas = FigureCanvasSVG(figure) if path.suffix == ".svg" else FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(found), squeeze=False).ravel()
    for panel, (name, by_optimizer) in zip(panels, found.items(), strict=True):
        for colour, (optimizer, by_seed) in zip(COLOURS, by_optimizer.items(), strict=False):
            last = min(series[-1][0] for series in by_seed.values())
            grid = np.linspace(0, last, 200)
            values = np.stack([_at(series, grid) for series in by_seed.values()])
            for row in values:
                panel.plot(grid, row, color=colour, linewidth=0.7, alpha=0.4)
            panel.plot(grid, np.median(values, axis=0), color=colour, linewidth=2.2, label=optimizer)
        panel.set(title=name, xlabel="epochs trained", ylabel="hypervolume, share of the box", xlim=(0, None))
        panel.grid(color="#e9edf2")
        panel.legend(frameon=False, loc="lower right")
    canvas.print_figure(path)


def _at(series: Series, grid: np.ndarray) -> np.ndarray:
    """Returns the hypervolume at each number of epochs, 0 before the first."""
    epochs = np.asarray([n for n, _ in series])
    values = np.asarray([0.0, *(value for _, value in series)])
    return np.asarray(values[np.searchsorted(epochs, grid, side="right")])


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="carry out searches")
    runs.add_argument("--seeds", type=int, default=5)
    runs.add_argument("--until", type=float, help="full trainings, in place of the budget")
    reports = commands.add_parser("report", help="print what they say")
    reports.add_argument("--figure", type=Path)
    reports.add_argument("--json", type=Path)
    for command in (runs, reports):
        command.add_argument("--experiments", nargs="+", default=["digits", "fashion_mnist"], metavar="NAME")
        command.add_argument("--optimizers", nargs=2, default=["bayesian", "smac"], metavar="NAME")
        command.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    {"run": run, "report": report}[arguments.command](arguments)


if __name__ == "__main__":
    main()
