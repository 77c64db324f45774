"""Live progress: one updating block on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dsnn_hpo.experiment import ExperimentConfig, Observer, spent
from dsnn_hpo.journal import History, Lost, Mark, Measured, Told
from dsnn_hpo.report import RunningHypervolume, epochs, readable, with_interval
from dsnn_hpo.trial import OBJECTIVES, Result, TrialState

N_RECENT = 5


@contextmanager
def show_progress(config: ExperimentConfig, folder: Path) -> Iterator[Observer]:
    """Yields an observer that shows a run's progress on standard error while the context lasts."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        print(f"{config.name}: preparing {folder}", file=sys.stderr, flush=True)
        yield _PlainProgress(config)
        return
    progress = _LiveProgress(config, folder)
    with Live(progress, console=console, refresh_per_second=2):
        yield progress


class _PlainProgress:
    """A line for each event that matters."""

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        self._figures = _Figures(config)

    def update(self, history: History) -> None:
        event = history.events[-1]
        self._figures.take(history)
        if isinstance(event, Told):
            line = f"{_one_line(event.result, self._config)} | {self._figures.line(history)}"
            print(line, file=sys.stderr, flush=True)
        elif isinstance(event, Lost):
            print(_lost_line(event), file=sys.stderr, flush=True)
        elif isinstance(event, Measured):
            print(_measured_line(event), file=sys.stderr, flush=True)
        elif isinstance(event, Mark):
            print(f"{self._config.name}: {event.name} {event.reason}".rstrip(), file=sys.stderr, flush=True)


class _LiveProgress:
    """A block of a bar, the figures so far, and the last few trials; drawn from rich's own thread."""

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._figures = _Figures(config)
        self._history: History | None = None
        self._news = ""

    def update(self, history: History) -> None:
        self._figures.take(history)
        self._history = history
        if isinstance(event := history.events[-1], Lost):
            self._news = _lost_line(event)
        elif isinstance(event, Measured) or (isinstance(event, Mark) and event.name == "measuring"):
            self._news = _measured_line(event) if isinstance(event, Measured) else f"measuring {event.reason}"

    def __rich__(self) -> Group:
        history = self._history
        if history is None:
            return Group(Text(f"{self._config.name}: loading data, checking everything ..."))
        share = min(1.0, _share_done(history, self._config))
        bar = ProgressBar(total=1.0, completed=share, width=40)
        head = Table.grid(padding=(0, 2))
        head.add_row(Text(self._config.name, style="bold"), bar, f"{share:.0%}")
        recent = [Text(_one_line(r, self._config), style=_style(r)) for r in history.results[-N_RECENT:]]
        lost = [Text(self._news, style="yellow")] if self._news else []
        return Group(head, Text(self._figures.line(history)), *recent, *lost, Text(str(self._folder), style="dim"))


class _Figures:
    """The figures of a status line, added up result by result."""

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config
        self._hypervolume = RunningHypervolume([OBJECTIVES[name] for name in config.objectives])
        self._n_taken = self._n_failed = 0

    def take(self, history: History) -> None:
        """Adds the results that are new."""
        for result in history.results[self._n_taken :]:
            self._hypervolume.add(result)
            self._n_taken += 1
            self._n_failed += result.state is TrialState.FAILED

    def line(self, history: History) -> str:
        """Returns trials done, running and failed, hypervolume, energy and time left."""
        total = f"/{self._config.budget.trials}" if self._config.budget.trials is not None else ""
        parts = [f"{self._n_taken}{total} trials", f"{len(history.in_flight)} running", f"{self._n_failed} failed"]
        if self._hypervolume.value is not None:
            parts.append(f"hypervolume {self._hypervolume.value:.3f}")
        parts.append(f"energy {joules(history.energy_j)}")
        if (left := _seconds_left(history, self._config)) is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


def _style(result: Result) -> str:
    return "red" if result.state is TrialState.FAILED else "dim"


def _one_line(result: Result, config: ExperimentConfig) -> str:
    trial = result.trial
    if result.state is TrialState.FAILED:
        outcome = f"failed: {result.error}"
    else:
        outcome = ", ".join(f"{name} {readable(result.values[name])}" for name in config.objectives)
    return f"trial {trial.id} ({trial.key}, {epochs(trial.fidelity)}): {outcome}"


def _lost_line(lost: Lost) -> str:
    return (
        f"trial {lost.trial.id}: attempt {lost.attempt} was lost ({lost.reason}); it is tried again from its checkpoint"
    )


def _measured_line(measured: Measured) -> str:
    figures = [
        f"{name} {with_interval(measured.values[name], how.ci95)}"
        for name, how in measured.provenance.items()
        if name in OBJECTIVES
    ]
    return f"trial {measured.trial.id} measured again: {', '.join(figures)}"


def _share_done(history: History, config: ExperimentConfig) -> float:
    """Returns the share of the budget that is used up, trials in flight counting half."""
    n_asked = len(history.results) + len(history.in_flight)
    if n_asked == 0:
        return 0.0
    return spent(history, config.budget) * (len(history.results) + 0.5 * len(history.in_flight)) / n_asked


def _seconds_left(history: History, config: ExperimentConfig) -> float | None:
    share = _share_done(history, config)
    if not history.results or share <= 0:
        return None
    return max(0.0, history.running_s * (1 - share) / share)


def joules(energy_j: float) -> str:
    """Returns an energy with its unit."""
    return f"{energy_j / 1000:.3g} kJ" if energy_j >= 1000 else f"{energy_j:.3g} J"


def duration(seconds: float) -> str:
    """Returns a time as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
