"""A member of a run as a model that can be shipped: with its card, and in C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dsnn_hpo.deploy import CSource, DeployedModel, ModelFacts, error_rate, load_model, save_model, write_c
from dsnn_hpo.errors import DataError
from dsnn_hpo.evaluation import deployed, model_facts, trained_network
from dsnn_hpo.experiment._build import build
from dsnn_hpo.experiment._folder import RunFolder, read_run
from dsnn_hpo.experiment.config import config_of
from dsnn_hpo.journal import History
from dsnn_hpo.trial import OBJECTIVES, Result

ExportFormat = Literal["packed", "c"]
C_NAME = "model"
C_FILE = "model.c"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported.

    Attributes:
        folder: holds the model.
        trial: its id.
        errors: of the executor on the run's validation and test parts: what the model does where it is shipped.
        reported: the errors that the search was told, by part: the same, but of a trial that was stopped early, whose
            network the search knew in floating point.
        weight_bytes: packed.
        folder_bytes: of all files.
        c_file: the file of C, where one was asked for.
        c: what it needs.
    """

    folder: Path
    trial: int
    errors: Mapping[str, float]
    reported: Mapping[str, float]
    weight_bytes: int
    folder_bytes: int
    c_file: Path | None = None
    c: CSource | None = None


def export_trial(path: str | Path, trial: int, to: str | Path, file_format: ExportFormat = "packed") -> Exported:
    """Returns what was exported: the network of a trial of a run, as a folder that ``deploy.load_model`` reads.

    Args:
        path: the run folder; of a trial that was stopped early its checkpoint and the data set must be there, too.
        trial: its id.
        to: the new folder.
        file_format: with "c", the folder also gets ``model.c``.

    Raises:
        InputError: there is no such trial, checkpoint or data set, or the folder is taken.
        FreezeError: the network cannot be frozen, or not be written in C.
        ModelFolderError: the frozen network in the run folder is damaged, or the new folder cannot be written.
    """
    folder = RunFolder(Path(path))
    history = read_run(folder.path)
    # What the search was told: later figures of the front, means over seeds perhaps, are of other networks, too.
    result = history.completed(trial)
    kept = folder.model(trial)
    found = _kept(kept, result) if kept.exists() else _frozen_now(folder, history, result)
    # Before the folder is made: what C cannot express leaves none.
    c = write_c(found.model, C_NAME) if file_format == "c" else None
    to = Path(to)
    facts = _with_figures(found, history, result)
    if c is not None:
        needs = f"{c.flash_bytes:,} bytes of flash for its tables, {c.ram_bytes:,} bytes of RAM"
        facts = replace(facts, figures={**facts.figures, C_FILE: needs})
    save_model(found.model.executor, facts, to, {} if c is None else {C_FILE: c.text})
    return Exported(
        folder=to,
        trial=trial,
        errors=found.errors,
        reported=_reported(result),
        weight_bytes=found.model.plan.n_weight_bytes,
        folder_bytes=sum(file.stat().st_size for file in to.iterdir()),
        c_file=None if c is None else to / C_FILE,
        c=c,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A trial's model, and its errors by part."""

    model: DeployedModel
    errors: Mapping[str, float]


def _kept(folder: Path, result: Result) -> _Found:
    """Returns the model that the trial's worker froze and evaluated: no data are needed, nothing is computed anew."""
    return _Found(load_model(folder), _reported(result))


def _frozen_now(folder: RunFolder, history: History, result: Result) -> _Found:
    """Returns the network of a trial that was stopped early, frozen from its checkpoint, and evaluated."""
    config = config_of(history.header)
    experiment = build(config, folder.space)
    if history.header.data_digest not in ("", experiment.dataset.digest):
        raise DataError(f"the data set {config.task.dataset!r} here is not the one that {folder.path} was trained on")
    trained = trained_network(result.trial, experiment.task(folder.path))
    facts = model_facts(result.trial, config.task, trained.data)
    model = DeployedModel(deployed(trained.network, trained.data), facts)
    parts = {"validation": trained.data.validation, "test": trained.data.test}
    return _Found(model, {part: error_rate(model, samples) for part, samples in parts.items()})


def _reported(result: Result) -> dict[str, float]:
    reported = {"validation": result.values["error"]}
    return reported | ({"test": result.test_values["error"]} if "error" in result.test_values else {})


def _with_figures(found: _Found, history: History, result: Result) -> ModelFacts:
    figures = {f"error, {part} part": f"{error:.6g}" for part, error in found.errors.items()}
    for part, error in _reported(result).items():
        if error != found.errors[part]:
            figures[f"error in floating point, {part} part"] = f"{error:.6g}"
    result = history.latest(result)
    for name, value in result.values.items():
        if name != "error":
            unit = OBJECTIVES[name].unit if name in OBJECTIVES else ""
            how = result.provenance.get(name)
            figures[name] = f"{value:.6g} {unit}".rstrip() + (f" ({how})" if how is not None else "")
    header = history.header
    versions = ", ".join(f"{package} {number}" for package, number in sorted(header.versions.items()))
    provenance = {
        "run": f"{header.name} ({header.run_id})",
        "trial": f"{result.trial.id}, {result.trial.fidelity} epochs, seed {result.trial.seed}",
        "data": f"{found.model.facts.dataset}, SHA-256 {header.data_digest or 'unknown'}",
        "versions": versions,
    }
    name = f"{header.name}, trial {result.trial.id}"
    return replace(found.model.facts, name=name, figures=figures, provenance=provenance)
