"""The target function: build, convert, train to the trial's fidelity (from a checkpoint), measure."""

from __future__ import annotations

import contextlib
import errno
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from dsnn_hpo.data import PreparedData
from dsnn_hpo.energy import Meter, make_meter, search_plan
from dsnn_hpo.errors import (
    DivergedError,
    DsnnHpoError,
    InputError,
    TrialInterruptedError,
    WorkerLostError,
)
from dsnn_hpo.evaluation._errors import errors_of
from dsnn_hpo.evaluation._figures import Bench
from dsnn_hpo.evaluation._idle import idle_w
from dsnn_hpo.evaluation._modelled import hardware_figure
from dsnn_hpo.evaluation._network import Task, add_import_paths, build_network, prepared_data
from dsnn_hpo.evaluation._places import checkpoint_folder
from dsnn_hpo.evaluation._recorder import Recorder, latest_checkpoint
from dsnn_hpo.evaluation._settings import Settings, settings_of
from dsnn_hpo.evaluation._trained import TrainedNetwork
from dsnn_hpo.operators import packed_size_bytes
from dsnn_hpo.training import Checkpoint, train
from dsnn_hpo.trial import FailureCause, Provenance, Result, Trial, TrialState

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})


def evaluate(trial: Trial, task: Task, should_stop: Callable[[], bool] = lambda: False) -> Result:
    """Returns the result of a trial; whatever goes wrong in it becomes a failed result with its reason.

    Its training keeps a checkpoint now and then, from which it goes on when the same trial is evaluated again.

    Raises:
        TrialInterruptedError: ``should_stop``, asked after each epoch, said so; a checkpoint is kept.
        WorkerLostError: a file could not be written for want of room or of a disk, which is not the trial's fault.
    """
    started = time.monotonic()
    evaluation = _Evaluation(trial, task, should_stop)
    try:
        result = evaluation.result()
    except TrialInterruptedError:
        raise
    except Exception as error:
        # For the log; the result has the gist.
        traceback.print_exc()
        if _disk_error(error):
            raise WorkerLostError(f"its files could not be written: {error}") from error
        cause, reason = _failure(error)
        result = Result(trial, TrialState.FAILED, error=reason, cause=cause)
    seconds = time.monotonic() - started
    return replace(
        result,
        seconds=seconds,
        n_epochs=evaluation.n_epochs,
        energy_j=evaluation.energy_j,
        measuring_energy_j=evaluation.measuring_energy_j,
    )


@dataclass(frozen=True, slots=True)
class Target:
    """The target function of a search: ``evaluate`` with its task, picklable."""

    task: Task

    def __call__(self, trial: Trial, should_stop: Callable[[], bool]) -> Result:
        """Returns the result of a trial; see ``evaluate``."""
        return evaluate(trial, self.task, should_stop)


def _disk_error(error: BaseException) -> bool:
    """Returns whether an error, or one that led to it, says that a disk is full or gone."""
    cause = error.__cause__ or error.__context__
    is_one = isinstance(error, OSError) and error.errno in _DISK_ERRORS
    return is_one or (cause is not None and _disk_error(cause))


def _failure(error: Exception) -> tuple[FailureCause, str]:
    """Returns the cause of a failure and a line that says what happened."""
    if isinstance(error, DivergedError):
        return FailureCause.DIVERGED, str(error)
    if isinstance(error, DsnnHpoError):
        return FailureCause.EXCEPTION, str(error)
    # Torch's allocator on the CPU has no error of its own.
    no_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    reason = f"{type(error).__name__}: {error} ({place})"
    return FailureCause.OUT_OF_MEMORY if no_memory else FailureCause.EXCEPTION, reason


class _Evaluation:
    """One evaluation under way; ``n_epochs`` and ``energy_j`` are what its training has cost, also if it fails."""

    def __init__(self, trial: Trial, task: Task, should_stop: Callable[[], bool]) -> None:
        self._trial = trial
        self._task = task
        self._should_stop = should_stop
        self.n_epochs = 0
        self.energy_j = self.measuring_energy_j = 0.0

    def result(self) -> Result:
        """Returns the completed result; raises whatever goes wrong."""
        trial, task = self._trial, self._task
        torch.set_num_threads(task.n_threads)
        add_import_paths(task.import_paths)
        settings = settings_of(trial, task.config, task.max_epochs)
        data = prepared_data(task.config, task.folder)
        meter = make_meter(task.energy)
        how = _warm_up(meter)
        network = build_network(settings, task, data, trial.seed)
        checkpoint = self._trained(network, settings, data, meter)
        trained = TrainedNetwork(network, data, settings)
        errors = errors_of(trained, trial, task, checkpoint.curve[-1].validation_error)
        values = {
            **errors.values,
            "model_size_bytes": float(packed_size_bytes(network)),
            "train_energy_j": checkpoint.train_energy_j,
            "co2_g": checkpoint.co2_g,
        }
        provenance = {**errors.provenance, **dict.fromkeys(("train_energy_j", "co2_g"), how)}
        plan = search_plan(task.energy, idle_w(task.energy, meter))
        bench = Bench(data, settings.training.test_batch_size, meter, plan)
        figures = bench.measured(network, task.objectives, executor=errors.executor)
        self.measuring_energy_j = figures.spent_j
        # As an objective it must be known; otherwise it is worth having where it can be had.
        with contextlib.suppress(*(() if "hardware_energy_uj" in task.objectives else (InputError,))):
            modelled_uj, provenance["hardware_energy_uj"] = hardware_figure(network, data.input_shape, task.energy)
            values["hardware_energy_uj"] = modelled_uj
        return Result(
            trial,
            TrialState.COMPLETED,
            values={**values, **figures.values},
            test_values=errors.test_values,
            curve=checkpoint.curve,
            provenance={**provenance, **figures.provenance},
        )

    def _trained(self, network: nn.Module, settings: Settings, data: PreparedData, meter: Meter) -> Checkpoint:
        """Returns the checkpoint at the trial's fidelity, and leaves the network as it is there."""
        trial = self._trial
        n_epochs = settings.n_epochs(trial.fidelity)
        start = latest_checkpoint(checkpoint_folder(self._task.folder, trial), n_epochs)
        recorder = Recorder(trial, self._task.folder, meter, start, self._should_stop)
        if start is not None and start.epoch == n_epochs:
            network.load_state_dict(start.network_state)
            # Unless it is another trial's, this one was trained, and its worker died before the result was recorded.
            self.n_epochs, self.energy_j = recorder.n_epochs, recorder.energy_j
            return start
        meter.begin()
        try:
            checkpoint = train(network, data, settings.training, n_epochs, start, recorder.after_epoch)
        except DivergedError as error:
            self.n_epochs = max(0, error.n_epochs - recorder.first_epoch)
            raise
        finally:
            recorder.measure()
            self.n_epochs, self.energy_j = max(self.n_epochs, recorder.n_epochs), recorder.energy_j
        self.n_epochs = n_epochs - recorder.first_epoch
        return recorder.keep(checkpoint)


def _warm_up(meter: Meter) -> Provenance:
    """Returns how the meter obtains its figures.

    Finds the sensors and loads what a first optimizer step loads, a second or two that no training is to be charged.
    """
    meter.begin()
    how = meter.end().provenance
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.Adam([parameter]).step()
    return how
