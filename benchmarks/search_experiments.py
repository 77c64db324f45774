"""Shipped experiments with one optimizer and with another: after how many epochs the first has what the second has in the end.

    python benchmarks/search_experiments.py run [--experiments digits fashion_mnist] [--optimizers bayesian smac] [--seeds 5] [--until N] [--n-train N]
    python benchmarks/search_experiments.py keep [--searches FILE]
    python benchmarks/search_experiments.py report [--searches FILE] [--figure FILE] [--json FILE]

Each search is a run of `experiments/NAME.yaml` as it is shipped, but for `optimizer` and `seed`, in a folder
`build/bench-experiments/NAME/OPTIMIZER/SEED`; what is finished is not done again, what was interrupted is resumed. `--until`
ends a search after so many full trainings, in place of the experiment's own budget, and `--n-train` has it train on so many
samples: for a comparison that would take days. `keep` writes what the report needs of the
finished ones into a file, beside what it holds of others; `search_experiments.jsonl` has the searches of the documentation. The
hypervolume is that of the front at the highest fidelity, in the box of all searches of an experiment; epochs are those that were
trained, going on from a checkpoint counting the rest only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dsnn_hpo import pareto
from dsnn_hpo.comparing import Box, common_box
from dsnn_hpo.experiment import read_run
from dsnn_hpo.journal import History
from dsnn_hpo.trial import TrialState

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "bench-experiments"
KEPT = Path(__file__).with_suffix(".jsonl")
TARGET_SHARE = 0.5
COLOURS = ("#c8102e", "#175cd3", "#12805c", "#b54708", "#6941c6")

Series = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Search:
    """What is kept of a search.

    Attributes:
        experiment, optimizer, seed: which one.
        epochs: trained in all.
        points: (epochs trained by then, losses ...) of each training at the highest fidelity, by the latest figures: with
            hindsight where it was measured again.
    """

    experiment: str
    optimizer: str
    seed: int
    epochs: int
    points: list[list[float]]

    @property
    def key(self) -> tuple[str, str, int]:
        """Returns which one it is."""
        return self.experiment, self.optimizer, self.seed

    @classmethod
    def of(cls, name: str, optimizer: str, seed: int, history: History) -> Search:
        """Returns what is to be kept of a run."""
        epochs, points = 0, []
        for result in history.latest_results():
            epochs += result.n_epochs
            if result.state is TrialState.COMPLETED and result.trial.fidelity == history.header.fidelity.max_epochs:
                losses = pareto.losses_of([result], history.objectives)[0]
                points.append([float(epochs), *(float(f"{loss:.6g}") for loss in losses)])
        return cls(name, optimizer, seed, epochs, points)

    @property
    def losses(self) -> pareto.Losses:
        """Returns the losses of its points, shape (n, m)."""
        return np.asarray([point[1:] for point in self.points], dtype=np.float64)

    def series(self, box: Box) -> Series:
        """Returns (epochs trained so far, share of the box) after each training at the highest fidelity, and in the end."""
        losses = self.losses
        values = [pareto.hypervolume(losses[: i + 1], box.reference) / box.volume for i in range(len(losses))]
        series = [(int(point[0]), value) for point, value in zip(self.points, values, strict=True)]
        return [*series, (self.epochs, values[-1] if values else 0.0)]


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
    if arguments.n_train is not None:
        data["task"]["n_train"] = arguments.n_train
    path = Path(arguments.folder, name, optimizer, f"{seed}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def keep(arguments: argparse.Namespace) -> None:
    """Writes the finished searches into a file, in place of what it holds of the same."""
    searches = {search.key: search for search in read_searches(arguments.searches)}
    searches |= {search.key: search for search in finished_in(arguments.folder, arguments)}
    lines = [json.dumps(asdict(search)) + "\n" for _, search in sorted(searches.items())]
    arguments.searches.write_text("".join(lines))
    print(f"{arguments.searches}: {len(lines)} searches")


def report(arguments: argparse.Namespace) -> None:
    """Prints what the searches say, and writes what is asked for."""
    every = read_searches(arguments.searches) if arguments.searches else finished_in(arguments.folder, arguments)
    found: dict[str, dict[str, dict[int, Series]]] = {}
    summary = {}
    for name in arguments.experiments:
        series = series_of([search for search in every if search.experiment == name])
        missing = [optimizer for optimizer in arguments.optimizers if optimizer not in series]
        if missing:
            print(f"{name}: no finished searches of {' and '.join(missing)}")
            continue
        found[name] = series
        ours, peer = arguments.optimizers
        reached = reached_by(series[ours], series[peer])
        summary[name] = [asdict(each) for each in reached]
        print(described(name, ours, peer, reached))
    if arguments.json:
        arguments.json.write_text(json.dumps(summary, indent=1) + "\n")
    if arguments.figure and found:
        draw(found, arguments.figure)


def read_searches(path: Path) -> list[Search]:
    """Returns the searches that a file holds, none if there is no file."""
    return [Search(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def finished_in(folder: Path, arguments: argparse.Namespace) -> list[Search]:
    """Returns the finished searches of a folder, of the experiments and optimizers asked for."""
    searches = []
    for name in arguments.experiments:
        for optimizer in arguments.optimizers:
            for journal in sorted(folder.glob(f"{name}/{optimizer}/*/journal.jsonl")):
                if (history := read_run(journal.parent)).finished:
                    searches.append(Search.of(name, optimizer, int(journal.parent.name), history))
    return searches


def series_of(searches: Iterable[Search]) -> dict[str, dict[int, Series]]:
    """Returns hypervolume over epochs of searches of one experiment, by optimizer and seed, in the box of all their fronts."""
    every = list(searches)
    fronts = [losses[pareto.non_dominated(losses)] for search in every if len(losses := search.losses)]
    if not fronts:
        return {}
    box = common_box(fronts)
    series: dict[str, dict[int, Series]] = {}
    for search in every:
        series.setdefault(search.optimizer, {})[search.seed] = search.series(box)
    return series


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
    runs.add_argument("--n-train", type=int, help="training samples, in place of the experiment's number")
    keeps = commands.add_parser("keep", help="write the finished ones into a file")
    keeps.add_argument("--searches", type=Path, default=KEPT)
    reports = commands.add_parser("report", help="print what they say")
    reports.add_argument("--searches", type=Path, help="a file of kept ones, in place of the folder")
    reports.add_argument("--figure", type=Path)
    reports.add_argument("--json", type=Path)
    for command in (runs, keeps, reports):
        command.add_argument("--experiments", nargs="+", default=["digits", "fashion_mnist"], metavar="NAME")
        command.add_argument("--optimizers", nargs=2, default=["bayesian", "smac"], metavar="NAME")
        command.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    {"run": run, "keep": keep, "report": report}[arguments.command](arguments)


if __name__ == "__main__":
    main()
