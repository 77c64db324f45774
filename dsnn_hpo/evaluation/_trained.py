"""A trial's trained network, from its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dsnn_hpo.data import PreparedData
from dsnn_hpo.errors import InputError
from dsnn_hpo.evaluation._network import Task, add_import_paths, build_network, prepared_data
from dsnn_hpo.evaluation._places import checkpoint_folder
from dsnn_hpo.evaluation._recorder import latest_checkpoint
from dsnn_hpo.evaluation._settings import Settings, settings_of
from dsnn_hpo.trial import Trial


@dataclass(frozen=True, slots=True, eq=False)
class TrainedNetwork:
    """A network, the data that it was trained on, and the settings of its configuration."""

    network: nn.Module
    data: PreparedData
    settings: Settings


def trained_network(trial: Trial, task: Task) -> TrainedNetwork:
    """Returns the network of a trial as its training left it; torch is set to the task's number of threads.

    Raises:
        InputError: the trial's checkpoint is not there: its training has not ended, or has gone on since.
        TrialError: the checkpoint is damaged.
    """
    torch.set_num_threads(task.n_threads)
    add_import_paths(task.import_paths)
    settings = settings_of(trial, task.config, task.max_epochs)
    data = prepared_data(task.config, task.folder)
    network = build_network(settings, task, data, trial.seed).eval()
    n_epochs = settings.n_epochs(trial.fidelity)
    folder = checkpoint_folder(task.folder, trial)
    checkpoint = latest_checkpoint(folder, n_epochs)
    if checkpoint is None or checkpoint.epoch != n_epochs:
        raise InputError(
            f"{folder} has no checkpoint of epoch {n_epochs}, so the network of trial {trial.id} cannot be had again"
        )
    network.load_state_dict(checkpoint.network_state)
    return TrainedNetwork(network, data, settings)
