"""Measuring a trained configuration again, from its checkpoint: long windows, repeats, intervals."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from dsnn_hpo.energy import final_plan, make_meter
from dsnn_hpo.errors import DsnnHpoError, TrialError, TrialInterruptedError
from dsnn_hpo.evaluation._figures import Bench, Figures
from dsnn_hpo.evaluation._idle import idle_w
from dsnn_hpo.evaluation._network import Task, float_network
from dsnn_hpo.evaluation._shipped import executor_of
from dsnn_hpo.evaluation._trained import trained_network
from dsnn_hpo.trial import Trial

N_LATENCY_RUNS = 500

ShouldStop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class MeasureAgain:
    """``measure_again`` with its task, picklable."""

    task: Task

    def __call__(self, trial: Trial, should_stop: ShouldStop) -> Figures:
        """Returns fresh figures of a trial; see ``measure_again``.

        Raises:
            DsnnHpoError: as there; whatever else goes wrong is a TrialError, for it is no reason to end a run.
        """
        try:
            return measure_again(trial, self.task, should_stop)
        except TrialInterruptedError:
            raise
        except Exception as error:
            # For the log; the error has the gist.
            traceback.print_exc()
            if isinstance(error, DsnnHpoError):
                raise
            raise TrialError(f"{type(error).__name__}: {error}") from error


def measure_again(trial: Trial, task: Task, should_stop: ShouldStop = lambda: False, device: str = "cpu") -> Figures:
    """Returns the task's measured objectives of a trained trial, from its checkpoint, alone on this machine.

    With an energy of inference comes ``float32_energy_j``, that of the float32 network of the same architecture. The
    executor runs on processors; on another device it is the emulation that is measured, whatever the objectives.

    Raises:
        InputError: the trial's checkpoint is not there.
        FreezeError: the executor cannot run the network.
        TrialInterruptedError: ``should_stop``, asked before each pass over the samples, said so.
        EnergyError: nothing could be measured; says why.
        ModelFolderError: the trial's frozen network is damaged.
    """
    trained = trained_network(trial, task)
    network, data, settings = trained.network, trained.data, trained.settings

    def check() -> None:
        if should_stop():
            raise TrialInterruptedError(f"the measurement of trial {trial.id} was stopped")

    meter = make_meter(task.energy)
    plan = final_plan(task.energy, idle_w(task.energy, meter))
    bench = Bench(data, settings.training.test_batch_size, meter, plan, check, N_LATENCY_RUNS, device)
    if device != "cpu":
        return bench.measured(network.to(device), ("emulation_energy_j",))
    peer = float_network(settings, task, data)
    return bench.measured(network, task.objectives, peer, executor_of(trial, task))
