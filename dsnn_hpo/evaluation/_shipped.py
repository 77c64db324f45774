"""The network of a trial as it would be shipped: frozen, packed into a folder beside the checkpoints, and evaluated."""

from __future__ import annotations

import shutil

from dsnn_hpo.data import PreparedData
from dsnn_hpo.deploy import DeployedModel, ModelFacts, Preprocessing, load_model, save_model
from dsnn_hpo.evaluation._config import TaskConfig
from dsnn_hpo.evaluation._network import Task
from dsnn_hpo.evaluation._places import model_folder
from dsnn_hpo.executor import Executor
from dsnn_hpo.trial import Trial


def packed(executor: Executor, trial: Trial, task: Task, data: PreparedData) -> DeployedModel:
    """Returns the model of a trial's frozen network, after saving it in the run folder in place of an earlier attempt's.

    What is exported later is this folder, and no second freezing: that would calibrate again, on another machine to
    other scales.

    Raises:
        ModelFolderError: the folder cannot be written.
    """
    folder = model_folder(task.folder, trial.id)
    facts = model_facts(trial, task.config, data)
    shutil.rmtree(folder, ignore_errors=True)
    save_model(executor, facts, folder)
    return DeployedModel(executor, facts)


def executor_of(trial: Trial, task: Task) -> Executor | None:
    """Returns the executor of a trial's saved model; None if none was saved.

    Raises:
        ModelFolderError: the folder is damaged.
    """
    folder = model_folder(task.folder, trial.id)
    return load_model(folder).executor if folder.exists() else None


def model_facts(trial: Trial, config: TaskConfig, data: PreparedData) -> ModelFacts:
    """Returns what is known of a trial's model before anybody names or measures it."""
    how = Preprocessing(tuple(data.mean.tolist()), tuple(data.std.tolist()), config.image_size)
    name = f"{config.model} on {config.dataset}, trial {trial.id}"
    return ModelFacts(name, data.classes, how, config.dataset, dict(trial.config))
