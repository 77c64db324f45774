"""A member of a run as a model that can be shipped: frozen, packed, measured once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dsnn_hpo.data import Dataset, PreparedData
from dsnn_hpo.deploy import CSource, DeployedModel, ModelFacts, Preprocessing, error_rate, save_model, write_c
from dsnn_hpo.errors import DataError, InputError
from dsnn_hpo.evaluation import deployed, trained_network
from dsnn_hpo.experiment._build import build
from dsnn_hpo.experiment._folder import RunFolder, read_run
from dsnn_hpo.experiment.config import ExperimentConfig, config_of
from dsnn_hpo.journal import History
from dsnn_hpo.trial import OBJECTIVES, Result, TrialState

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
        reported: the errors that the run knows, of the network in floating point, by part.
        n_test: images of the test part.
        weight_bytes: packed.
        folder_bytes: of all files.
        c_file: the file of C, where one was asked for.
        c: what it needs.
    """

    folder: Path
    trial: int
    errors: Mapping[str, float]
    reported: Mapping[str, float]
    n_test: int
    weight_bytes: int
    folder_bytes: int
    c_file: Path | None = None
    c: CSource | None = None


def export_trial(path: str | Path, trial: int, to: str | Path, file_format: ExportFormat = "packed") -> Exported:
    """Returns what was exported: the network of a trial of a run, as a folder that ``deploy.load_model`` reads.

    Args:
        path: the run folder, with its checkpoints; its data set must be here, too.
        trial: its id.
        to: the new folder.
        file_format: with "c", the folder also gets ``model.c``.

    Raises:
        InputError: there is no such trial, checkpoint or data set, or the folder is taken.
        FreezeError: the network cannot be frozen, or not be written in C.
    """
    folder = RunFolder(Path(path))
    history = read_run(folder.path)
    result = _result(history, trial)
    config = config_of(history.header)
    experiment = build(config, folder.space)
    if history.header.data_digest not in ("", experiment.dataset.digest):
        raise DataError(f"the data set {config.task.dataset!r} here is not the one that {folder.path} was trained on")
    trained = trained_network(result.trial, experiment.task(folder.path))
    executor = deployed(trained.network, trained.data)
    facts = _facts(config, experiment.dataset, trained.data, result)
    model = DeployedModel(executor, facts)
    errors = {
        part: error_rate(model, samples)
        for part, samples in (("validation", trained.data.validation), ("test", trained.data.test))
    }
    # Before the folder is made: what C cannot express leaves none.
    c = write_c(model, C_NAME) if file_format == "c" else None
    to = Path(to)
    facts = _with_figures(facts, history, result, errors)
    if c is not None:
        needs = f"{c.flash_bytes:,} bytes of flash for its tables, {c.ram_bytes:,} bytes of RAM"
        facts = replace(facts, figures={**facts.figures, C_FILE: needs})
    save_model(executor, facts, to, {} if c is None else {C_FILE: c.text})
    return Exported(
        folder=to,
        trial=trial,
        errors=errors,
        reported=_reported(result),
        n_test=len(trained.data.test),
        weight_bytes=executor.plan.n_weight_bytes,
        folder_bytes=sum(file.stat().st_size for file in to.iterdir()),
        c_file=None if c is None else to / C_FILE,
        c=c,
    )


def _result(history: History, trial: int) -> Result:
    """Returns what the search was told: later figures of the front, means over seeds perhaps, are of other networks, too."""
    found = {result.trial.id: result for result in history.results}
    front = ", ".join(str(result.trial.id) for result in history.front()) or "none"
    if trial not in found:
        raise InputError(f"{history.header.name} has no finished trial {trial}; on its front are {front}")
    if found[trial].state is not TrialState.COMPLETED:
        raise InputError(f"trial {trial} failed: {found[trial].error}; on the front are {front}")
    return found[trial]


def _facts(config: ExperimentConfig, dataset: Dataset, data: PreparedData, result: Result) -> ModelFacts:
    how = Preprocessing(tuple(data.mean.tolist()), tuple(data.std.tolist()), config.task.image_size)
    name = f"{config.name}, trial {result.trial.id}"
    return ModelFacts(name, dataset.classes, how, config.task.dataset, dict(result.trial.config))


def _reported(result: Result) -> dict[str, float]:
    reported = {"validation": result.values["error"]}
    return reported | ({"test": result.test_values["error"]} if "error" in result.test_values else {})


def _with_figures(facts: ModelFacts, history: History, result: Result, errors: Mapping[str, float]) -> ModelFacts:
    figures = {f"error of this model, {part} part": f"{error:.6g}" for part, error in errors.items()}
    figures |= {f"error in the search, {part} part": f"{error:.6g}" for part, error in _reported(result).items()}
    result = next(latest for latest in history.latest_results() if latest.trial.id == result.trial.id)
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
        "data": f"{facts.dataset}, SHA-256 {header.data_digest or 'unknown'}",
        "versions": versions,
    }
    return replace(facts, figures=figures, provenance=provenance)
