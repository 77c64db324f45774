"""How a run stands, for whoever looks at its folder from another terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dsnn_hpo.errors import InputError
from dsnn_hpo.evaluation import read_progress
from dsnn_hpo.experiment._attempts import log_path
from dsnn_hpo.experiment._drive import spent
from dsnn_hpo.experiment._folder import RunFolder, read_run, resume_line
from dsnn_hpo.experiment.config import config_of
from dsnn_hpo.journal import History, InFlight, Mark
from dsnn_hpo.report import RunningHypervolume


@dataclass(frozen=True, slots=True)
class TrialStatus:
    """A trial in flight: the attempt at it, counted from 1, the epoch of its last checkpoint, and its log."""

    id: int
    attempt: int
    epoch: int
    n_epochs: int
    log: str


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run as it stands.

    Attributes:
        name: of the experiment.
        state: "running", or how its last session ended: "finished", "failed", "interrupted", "killed".
        reason: of a failure.
        driver: the process that is at work in the folder, as text; empty if there is none.
        budget_spent: share, 0 to 1.
        n_completed: trials.
        failures: number of failed trials by cause.
        n_attempts_lost: attempts that were made again.
        running: the trials in flight.
        hypervolume: relative, None until there is one.
        running_s: seconds during which a driver was at work.
        energy_j: of the run so far.
        go_on: the command that carries the run on, empty while it runs or after it finished.
    """

    name: str
    state: str
    reason: str
    driver: str
    budget_spent: float
    n_completed: int
    failures: dict[str, int]
    n_attempts_lost: int
    running: tuple[TrialStatus, ...]
    hypervolume: float | None
    running_s: float
    energy_j: float
    go_on: str


def run_status(path: str | Path) -> RunStatus:
    """Returns how the run in a folder stands; raises RunFolderError or JournalError."""
    folder = RunFolder(Path(path))
    history = read_run(folder.path)
    driver = folder.driver()
    state, reason = ("running", "") if driver else _ended(history)
    hypervolume = RunningHypervolume(history.objectives)
    for result in history.results:
        hypervolume.add(result)
    failed = [result for result in history.results if not result.values]
    return RunStatus(
        name=history.header.name,
        state=state,
        reason=reason,
        driver=driver,
        budget_spent=min(1.0, spent(history, config_of(history.header).budget)) if state != "finished" else 1.0,
        n_completed=len(history.results) - len(failed),
        failures=dict(Counter(str(result.cause or "exception") for result in failed)),
        n_attempts_lost=history.n_lost,
        running=tuple(_of(waiting, folder.path) for waiting in history.in_flight),
        hypervolume=hypervolume.value,
        running_s=history.running_s,
        energy_j=history.energy_j,
        go_on="" if state in ("running", "finished") else resume_line(folder.path),
    )


def trial_log(path: str | Path, trial_id: int) -> Path:
    """Returns the log of a trial; raises InputError if there is no such trial, or nothing of it was logged yet."""
    folder = RunFolder(Path(path))
    history = read_run(folder.path)
    trials = {result.trial.id: result.trial for result in history.results}
    trials |= {waiting.trial.id: waiting.trial for waiting in history.in_flight}
    if trial_id not in trials:
        raise InputError(f"{folder.path} has no trial {trial_id}; its trials are 0 to {history.n_asked - 1}")
    log = folder.path / log_path(trials[trial_id])
    if not log.exists():
        raise InputError(f"trial {trial_id} has no log yet: it has not begun")
    return log


def _ended(history: History) -> tuple[str, str]:
    last = history.events[-1] if history.events else None
    # A driver that ends by itself says so.
    if isinstance(last, Mark) and last.name not in ("started", "resumed", "measuring"):
        return last.name, last.reason
    return "killed", ""


def _of(waiting: InFlight, folder: Path) -> TrialStatus:
    trial = waiting.trial
    epoch = read_progress(folder, trial).epoch
    return TrialStatus(trial.id, waiting.n_lost + 1, epoch, trial.fidelity, str(log_path(trial)))
