"""From an experiment's description to its parts, everything checked that can be, before the first trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ConfigSpace

from dsnn_hpo import kernels, models
from dsnn_hpo.data import Dataset, PreparedData, Split, check_dataset, load_dataset, make_split, prepare
from dsnn_hpo.energy import check_country
from dsnn_hpo.energy.hardware import load_table
from dsnn_hpo.errors import DsnnHpoError, ExperimentError, InputError, ModelError, one_of
from dsnn_hpo.evaluation import Task, add_import_paths, check_executor, modelled_energy_uj, output_shape
from dsnn_hpo.execution import check_execution
from dsnn_hpo.experiment._folder import RunFolder
from dsnn_hpo.experiment._warm_start import WarmStart, find_warm_start, load_warm_start
from dsnn_hpo.experiment.config import ExperimentConfig
from dsnn_hpo.models import InputShape
from dsnn_hpo.optimizers import BayesianConfig, check_optimizer, check_priors
from dsnn_hpo.search_space import ModelFacts, check_fixed, load_search_space, plain
from dsnn_hpo.tracking import check_uri
from dsnn_hpo.trial import OBJECTIVES, Config, Objective


@dataclass(frozen=True, slots=True)
class Experiment:
    """A checked experiment, ready to run."""

    config: ExperimentConfig
    space: ConfigSpace.ConfigurationSpace
    dataset: Dataset
    split: Split
    hardware: str
    warm_start: WarmStart

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Returns the objectives, in the order of the experiment file."""
        return tuple(OBJECTIVES[name] for name in self.config.objectives)

    def task(self, folder: Path) -> Task:
        """Returns what workers must know, for a run in ``folder``."""
        config = self.config
        return Task(
            config=config.task.model_copy(update={"path": config.data_path}),
            objectives=config.objectives,
            max_epochs=config.fidelity.max_epochs,
            energy=config.energy.model_copy(update={"hardware": self.hardware}),
            folder=folder.resolve(),
            n_threads=config.execution.threads_per_worker,
            import_paths=(str(config.folder),),
        )


def build_again(config: ExperimentConfig, folder: RunFolder) -> Experiment:
    """Returns the parts of a run's experiment, from its own copies of the files; raises as ``build``."""
    names_earlier_runs = isinstance(config.optimizer, BayesianConfig) and config.optimizer.warm_start
    # Also where they are gone by now, or know more.
    warm_start = load_warm_start(folder.warm_start) if names_earlier_runs else WarmStart()
    return build(config, folder.space, str(folder.hardware) if folder.hardware.exists() else None, warm_start)


def build(
    config: ExperimentConfig,
    space_file: Path | None = None,
    hardware: str | None = None,
    warm_start: WarmStart | None = None,
) -> Experiment:
    """Returns the experiment's parts.

    Args:
        config: the experiment.
        space_file: the search space to use instead of the one that the experiment names (a run's own copy).
        hardware: likewise, the table of costs.
        warm_start: likewise, what earlier runs found.

    Raises:
        InputError: the data are missing, the space does not fit the network, or anything else that would fail later.
    """
    with _at(config, "tracking.uri"):
        if config.tracking_uri is not None:
            check_uri(config.tracking_uri)
    with _at(config, "energy.country"):
        check_country(config.energy.country)
    with _at(config, "energy.scope"):
        _check_scope(config)
    with _at(config, "energy.hardware"):
        load_table(hardware or config.hardware_table)
    with _at(config, "objectives"):
        check_executor(config.objectives)
    with _at(config, "optimizer"):
        check_optimizer(config.optimizer, [OBJECTIVES[name] for name in config.objectives])
    with _at(config, "execution"):
        check_execution(config.execution)
    with _at(config, "task.dataset"):
        check_dataset(config.task.dataset, config.data_path)
        dataset = load_dataset(config.task.dataset, config.data_path, config.task.image_size)
    with _at(config, "task"):
        split = _split(config, dataset)
    with _at(config, "task.model"):
        facts = _model_facts(config, dataset)
        # A network that cannot be built at all is the task's fault, not the search space's.
        facts.n_convolutions({})
    with _at(config, "fixed"):
        check_fixed(config.fixed, facts)
    with _at(config, "search_space"):
        space = load_search_space(space_file or config.space_path, facts, config.seed, config.fixed)
        _check_settled_once(config, space)
    with _at(config, "optimizer"):
        check_priors(config.optimizer, space, [OBJECTIVES[name] for name in config.objectives])
        warm_start = find_warm_start(config, space) if warm_start is None else warm_start
    # Broken kernels stop the run here, not in each trial.
    kernels.isa()
    experiment = Experiment(config, space, dataset, split, hardware or config.hardware_table, warm_start)
    default, task = plain(space.get_default_configuration()), experiment.task(config.folder)
    with _at(config, "task.model"):
        data = prepare(dataset, split, config.task.normalization)
        _check_runs(default, task, data)
    if "hardware_energy_uj" in config.objectives:
        with _at(config, "energy.hardware"):
            modelled_energy_uj(default, task, data)
    return experiment


@contextmanager
def _at(config: ExperimentConfig, key_path: str) -> Iterator[None]:
    """Puts the place of a key in the experiment file before the message of an error that its value causes."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{config.place(key_path)}: {error}") from error
    except OSError as error:
        raise ExperimentError(f"{config.place(key_path)}: {error.filename}: {error.strerror}") from error


def _split(config: ExperimentConfig, dataset: Dataset) -> Split:
    task = config.task
    return make_split(
        dataset,
        config.seed,
        n_train=task.n_train,
        n_validation=task.n_validation,
        validation_fraction=task.validation_fraction,
        test_fraction=task.test_fraction,
    )


def _model_facts(config: ExperimentConfig, dataset: Dataset) -> ModelFacts:
    task = config.task
    add_import_paths([str(config.folder)])
    offered = dict(models.model_arguments(task.model))
    for name in task.model_arguments:
        if name not in offered:
            raise ModelError(f"task.model_arguments: {task.model} has no argument {one_of(name, offered)}")
    searched = {name: default for name, default in offered.items() if name not in task.model_arguments}

    def of_network(count: Callable[[str, InputShape, int, Config], int], arguments: Config) -> int:
        settled = {**task.model_arguments, **arguments}
        return count(task.model, dataset.input_shape, len(dataset.classes), settled)

    return ModelFacts(
        name=task.model,
        arguments=searched,
        n_convolutions=partial(of_network, models.n_convolutions),
        n_stages=partial(of_network, models.n_stages),
    )


def _check_scope(config: ExperimentConfig) -> None:
    if config.energy.scope == "machine" and config.execution.workers > 1:
        raise ExperimentError(
            f"'machine' charges the whole machine to each of {config.execution.workers} workers; use scope 'process', or one worker"
        )


def _check_settled_once(config: ExperimentConfig, space: ConfigSpace.ConfigurationSpace) -> None:
    for name in ("batch_size", "schedule"):
        if name in config.task.model_fields_set and name in space:
            value = getattr(config.task, name)
            raise ExperimentError(
                f"{config.search_space} searches {name}, and task.{name} is set to {value!r}; remove one of them"
            )


def _check_runs(default: Config, task: Task, data: PreparedData) -> None:
    """Passes two images through the space's default configuration: a network that cannot run fails here, not later."""
    model = task.config.model
    try:
        shape = output_shape(default, task, data)
    except InputError:
        raise
    except (DsnnHpoError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{model} with the default configuration {default}: {error}") from error
    if shape != (2, data.n_classes):
        raise ModelError(f"{model} returns shape {shape}, not {(2, data.n_classes)}")
