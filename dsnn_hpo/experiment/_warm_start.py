"""What earlier runs found, as far as it fits a new run's space: read once, and kept in the new run's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ConfigSpace import Configuration, ConfigurationSpace
from ConfigSpace.exceptions import ForbiddenValueError, IllegalValueError
from ConfigSpace.util import deactivate_inactive_hyperparameters

from dsnn_hpo.errors import ExperimentError, RunFolderError
from dsnn_hpo.experiment._folder import read_run
from dsnn_hpo.experiment.config import ExperimentConfig
from dsnn_hpo.optimizers import BayesianConfig
from dsnn_hpo.search_space import plain
from dsnn_hpo.trial import Config, Result, TrialState, result_from_json, to_json


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Results of earlier runs, their configurations made ones of this space; and a line for each run that says how.

    Attributes:
        results: completed ones, with values only.
        notes: how many could be taken, and what they had besides or lacked.
    """

    results: tuple[Result, ...] = ()
    notes: tuple[str, ...] = ()

    def save(self, file: Path) -> None:
        """Writes it aside, and then in place."""
        lines = [{"notes": list(self.notes)}, *map(to_json, self.results)]
        aside = file.with_name(f".{file.name}.tmp")
        aside.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        aside.replace(file)


def load_warm_start(file: Path) -> WarmStart:
    """Returns what was saved; raises RunFolderError where it is gone or damaged."""
    try:
        head, *lines = file.read_text(encoding="utf-8").splitlines()
        notes = tuple(json.loads(head)["notes"])
        return WarmStart(tuple(result_from_json(json.loads(line)) for line in lines), notes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{file}: the results that the run began with cannot be read ({type(error).__name__}: {error}); "
            "without them it cannot be carried on"
        ) from None


def find_warm_start(config: ExperimentConfig, space: ConfigurationSpace) -> WarmStart:
    """Returns what the runs that the experiment names have found; nothing where it names none.

    Raises:
        RunFolderError: a folder holds no run.
        JournalError: its journal is damaged.
        ExperimentError: it has no value of one of the objectives, or no configuration that lies in the space.
    """
    folders = config.optimizer.warm_start if isinstance(config.optimizer, BayesianConfig) else ()
    results: list[Result] = []
    notes: list[str] = []
    for name in folders:
        found, note = _of_run(config.folder / os.path.expanduser(name), config.objectives, space)  # noqa: PTH111 - never raises
        results += found
        notes.append(f"{name}: {note}")
    return WarmStart(tuple(results), tuple(notes))


def _of_run(folder: Path, objectives: Sequence[str], space: ConfigurationSpace) -> tuple[list[Result], str]:
    history = read_run(folder)
    if missing := [name for name in objectives if name not in history.header.objectives]:
        raise ExperimentError(
            f"{folder} searched for {', '.join(history.header.objectives)}, and not for {', '.join(missing)}; "
            "its results are of no use here"
        )
    completed = [r for r in history.latest_results() if r.state is TrialState.COMPLETED]
    fitted = [(result, config_in(space, result.trial.config)) for result in completed]
    found = [_bare(result, config, objectives) for result, config in fitted if config is not None]
    if not found:
        raise ExperimentError(f"{folder}: none of its {len(completed)} results is of a configuration of this space")
    return found, f"{len(found)} of {len(completed)} results taken{_differences(completed, space)}"


def config_in(space: ConfigurationSpace, config: Config) -> Config | None:
    """Returns a configuration of another space as one of this space, or None where a value is not legal here.

    What is not searched here is left out; what was not there is the default.
    """
    values = {name: config.get(name, h.default_value) for name, h in space.items()}
    try:
        legal = deactivate_inactive_hyperparameters(values, space)
        Configuration(space, values=dict(legal))
    except (ForbiddenValueError, IllegalValueError, ValueError):
        return None
    return plain(legal)


def _bare(result: Result, config: Config, objectives: Iterable[str]) -> Result:
    kept = {name: how for name, how in result.provenance.items() if name in objectives}
    return Result(
        replace(result.trial, config=config),
        TrialState.COMPLETED,
        {name: result.values[name] for name in objectives},
        provenance=kept,
    )


def _differences(completed: Sequence[Result], space: ConfigurationSpace) -> str:
    had = dict.fromkeys(name for result in completed for name in result.trial.config)
    ignored = [name for name in had if name not in space]
    lacking = [name for name in space if name not in had]
    parts = [f"not searched here, and ignored: {', '.join(ignored)}"] if ignored else []
    parts += [f"not searched there, and taken as the default: {', '.join(lacking)}"] if lacking else []
    return "".join(f"; {part}" for part in parts)
