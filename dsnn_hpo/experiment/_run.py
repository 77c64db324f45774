"""Running and resuming experiments: the effects around the loop (folder, lock, signals, mirror, report)."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from dsnn_hpo import report
from dsnn_hpo.energy import rated_w_per_core
from dsnn_hpo.errors import JournalError, RunInterruptedError
from dsnn_hpo.evaluation import MeasureAgain, Target
from dsnn_hpo.execution import make_executor
from dsnn_hpo.experiment._attempts import Workplace
from dsnn_hpo.experiment._build import Experiment, build, build_again
from dsnn_hpo.experiment._drive import Driver, Observer, check_not_hopeless, replay
from dsnn_hpo.experiment._folder import RunFolder, default_folder, resume_line
from dsnn_hpo.experiment._front import FrontMember, front_members
from dsnn_hpo.experiment._known import known_figures
from dsnn_hpo.experiment._mirror import Links, default_store, links_on_server, open_run_mirror
from dsnn_hpo.experiment._remeasure import Remeasurement, contenders
from dsnn_hpo.experiment._retrain import Retraining, to_retrain
from dsnn_hpo.experiment._snapshot import Snapshots
from dsnn_hpo.experiment.config import ExperimentConfig, config_of
from dsnn_hpo.journal import Header, History, Journal, now
from dsnn_hpo.optimizers import Background, Budget, can_be_pickled, make_optimizer
from dsnn_hpo.tracking import MirrorStatus

LIBRARIES = ("dsnn-hpo", "torch", "smac", "ConfigSpace", "optuna", "codecarbon", "mlflow", "numpy", "scikit-learn")
MIRROR_TIMEOUT_S = 60.0
MIRROR_TIMEOUT_INTERRUPTED_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: its folder, its history, whether MLflow has it all, and where on a server that is, if on one."""

    folder: RunFolder
    history: History
    mirror: MirrorStatus
    links: Links | None = None


def run(config: ExperimentConfig, out: str | Path | None = None) -> list[FrontMember]:
    """Returns the Pareto front that a new run of the experiment finds, ordered by the first objective.

    Args:
        config: the experiment.
        out: the run folder; by default ``runs/NAME/TIME``.

    Raises:
        InputError: something is wrong with the experiment, its data or the folder.
        DsnnHpoError: no trial completed.
        RunInterruptedError: Ctrl-C or SIGTERM; ``resume`` continues.
    """
    return front_members(start(config, out).history)


def start(config: ExperimentConfig, out: str | Path | None = None, observers: Sequence[Observer] = ()) -> Outcome:
    """Returns the outcome of a new run; raises like ``run``. Observers are shown its history after each event."""
    folder = RunFolder(Path(out) if out is not None else default_folder(config.name))
    experiment = build(config)
    with _begun(experiment, folder) as (new, header):
        return _session(experiment, folder, new, History(header), observers)


def prepare(config: ExperimentConfig, out: str | Path | None = None) -> RunFolder:
    """Returns the folder of a new run that ``resume`` begins, perhaps elsewhere; raises InputError as ``run`` does."""
    folder = RunFolder(Path(out) if out is not None else default_folder(config.name))
    with _begun(build(config), folder):
        return folder


@contextmanager
def _begun(experiment: Experiment, folder: RunFolder) -> Iterator[tuple[Journal, Header]]:
    """Yields the journal of a new run, in a folder that is its own while the context lasts."""
    config = experiment.config
    folder.create()
    with folder.lock():
        # Another run may have begun here between the two lines above.
        folder.create()
        shutil.copyfile(config.space_path, folder.space)
        if Path(config.hardware_table).is_absolute():
            shutil.copyfile(config.hardware_table, folder.hardware)
        folder.experiment.write_text(config.text, encoding="utf-8")
        experiment.split.save(folder.split)
        if experiment.warm_start.results:
            experiment.warm_start.save(folder.warm_start)
        header = _header(experiment, folder)
        with Journal.create(folder.journal, header) as new:
            yield new, header


def resume(path: str | Path, observers: Sequence[Observer] = ()) -> Outcome:
    """Returns the outcome of an old run, carried on from where its journal ends; trials in flight run again.

    A finished run is only mirrored and reported again.

    Raises:
        RunFolderError: the folder holds no run, or another driver is at work in it.
        JournalError: the journal is damaged, or the optimizer does not repeat its proposals.
        DsnnHpoError, RunInterruptedError: as for ``run``.
    """
    folder = RunFolder(Path(path))
    folder.require_run()
    with folder.lock():
        opened, history = Journal.resume(folder.journal)
        with opened:
            experiment = build_again(config_of(history.header), folder)
            if history.header.data_digest != experiment.dataset.digest:
                raise JournalError(
                    f"{folder.path}: the data set {experiment.dataset.name} has changed since the run began; "
                    "results on different data do not belong to one front"
                )
            return _session(experiment, folder, opened, history, observers)


def _session(
    experiment: Experiment, folder: RunFolder, opened: Journal, history: History, observers: Sequence[Observer]
) -> Outcome:
    config, task = experiment.config, experiment.task(folder.path)
    with _stop_signals() as should_stop:
        snapshots = Snapshots(folder, _versions()) if can_be_pickled(config.optimizer) else None
        optimizer, n_known = snapshots.latest(history) if snapshots else (None, 0)
        if optimizer is None:
            optimizer = make_optimizer(
                config.optimizer,
                experiment.space,
                experiment.objectives,
                config.rungs,
                config.seed,
                Background(
                    Budget(config.budget.trials, config.budget.full_trainings),
                    known_figures(experiment.objectives, task, experiment.dataset),
                    experiment.warm_start.results,
                ),
            )
        target = Target(task)
        executor = make_executor(config.execution, folder.path)
        # Last of all: nothing between here and the `try` below fails and leaves its thread behind.
        mirror = open_run_mirror(config, folder, history.header)
        workplace = Workplace(executor, target, folder.path.resolve(), config.execution.attempts)
        keep = snapshots.keep if snapshots else None
        driver = Driver(optimizer, workplace, opened, history, [mirror, *observers], keep)
        timeout_s = MIRROR_TIMEOUT_INTERRUPTED_S
        try:
            if not history.finished:
                # What this process computes, proposals, is small; threads that wait for each other on cores that workers
                # keep busy take seconds for milliseconds of it.
                with threadpool_limits(limits=1):
                    replay(optimizer, history, should_stop, n_known)
                    _drive_to_the_end(driver, experiment, workplace, folder, should_stop)
            timeout_s = MIRROR_TIMEOUT_S
        finally:
            executor.close()
            mirror.update(driver.history)
            status = mirror.close(timeout_s)
            report.save_report(driver.history, folder.report)
    return Outcome(folder, driver.history, status, links_on_server(config, status))


def _drive_to_the_end(
    driver: Driver, experiment: Experiment, workplace: Workplace, folder: RunFolder, should_stop: Callable[[], bool]
) -> None:
    config = experiment.config
    troubles: list[str] = []
    began_s = time.process_time()

    def own_energy_j() -> float:
        # Its workers are processes of their own, and measure themselves.
        return (time.process_time() - began_s) * rated_w_per_core(config.energy)

    if driver.history.events:
        driver.mark("resumed")
    else:
        driver.mark("started", "; ".join(f"warm start from {note}" for note in experiment.warm_start.notes))
    try:
        driver.drive(config.budget, should_stop)
        if not should_stop():
            check_not_hopeless(driver.history)
            troubles = _make_sure(driver, experiment, workplace, should_stop)
    except Exception as error:
        driver.mark("failed", f"{type(error).__name__}: {error}", own_energy_j())
        raise
    if should_stop():
        driver.mark("interrupted", energy_j=own_energy_j())
        raise RunInterruptedError(f"interrupted; continue with: {resume_line(folder.path)}")
    driver.mark("finished", "; ".join(troubles), own_energy_j())


def _make_sure(
    driver: Driver, experiment: Experiment, workplace: Workplace, should_stop: Callable[[], bool]
) -> list[str]:
    """Returns what could not be done, a line each, of training and measuring the front again."""
    troubles = []
    n_seeds = experiment.config.front_seeds
    if n_seeds and (members := to_retrain(driver.history)):
        driver.mark(
            "measuring", f"the front again: {len(members)} configurations, each trained with {n_seeds} further seeds"
        )
        # Its inference is measured once, with the weights that are there to deploy.
        task = replace(experiment.task(workplace.folder), objectives=("error",))
        trainer = replace(workplace, evaluate=Target(task))
        troubles += Retraining(trainer, n_seeds).run(lambda: driver.history, driver.record, should_stop)
    remeasurement = _remeasurement(experiment, workplace)
    if remeasurement is not None and not should_stop():
        if waiting := contenders(driver.history, experiment.config.seed):
            driver.mark("measuring", f"the front again, and what is near it: {len(waiting)} configurations")
        troubles += remeasurement.run(lambda: driver.history, driver.record, should_stop)
    return troubles


def _remeasurement(experiment: Experiment, workplace: Workplace) -> Remeasurement | None:
    """Returns how the front is measured again after the search, or None if it is not to be."""
    config = experiment.config
    if config.energy.final_repeats == 0:
        return None
    # Of one machine, only one measures at a time.
    n_parallel = 1 if config.execution.kind == "local" else config.execution.workers
    return Remeasurement(
        workplace.executor,
        MeasureAgain(experiment.task(workplace.folder)),
        workplace.folder,
        config.seed,
        n_parallel,
        workplace.max_attempts,
    )


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C or SIGTERM came; a second one ends the process as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request_stop(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, request_stop)
    try:
        yield stop.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{n: importlib.metadata.version(n) for n in LIBRARIES}}


def _header(experiment: Experiment, folder: RunFolder) -> Header:
    config = experiment.config
    return Header(
        run_id=uuid.uuid4().hex,
        name=config.name,
        created=now(),
        experiment=config.as_written(),
        experiment_text=config.text,
        objectives=config.objectives,
        fidelity=config.rungs,
        versions=_versions(),
        folder=str(config.folder),
        store=default_store(folder),
        data_digest=experiment.dataset.digest,
    )
