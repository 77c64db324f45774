"""Saving a frozen network as a folder, and loading it, from wherever it comes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from dsnn_hpo.deploy import _schema as schema
from dsnn_hpo.deploy._card import model_card
from dsnn_hpo.deploy._check import check_plan
from dsnn_hpo.deploy._described import described, restored
from dsnn_hpo.deploy._facts import ModelFacts, Preprocessing
from dsnn_hpo.deploy._files import CARD, MODEL, SUMS, WEIGHTS, check_sums, read_file, sha256, sums_of, write_folder
from dsnn_hpo.deploy._model import DeployedModel
from dsnn_hpo.deploy._tensors import from_bytes, to_bytes
from dsnn_hpo.errors import InputError, ModelFolderError
from dsnn_hpo.executor import Executor

MAX_SHOWN = 300


def save_model(
    executor: Executor, facts: ModelFacts, folder: str | Path, extra_files: Mapping[str, str] | None = None
) -> None:
    """Returns nothing; writes a frozen network as a new folder: weights, plan, checksums and a model card.

    ``weights.safetensors`` holds the packed weights and the tables of the plan, their dtypes as they are;
    ``model.json`` the steps, which name them, the preprocessing and the classes; ``SHA256SUMS`` the checksums of both.

    Args:
        executor: to save.
        facts: what else is known of it.
        folder: new, or empty.
        extra_files: texts by file name that go into it, too; loading does not look at them.

    Raises:
        InputError: the facts do not fit the network.
        ModelFolderError: the folder exists and is not empty, or cannot be written; or the plan is too large to load.
    """
    plan, tensors = described(executor.plan)
    weights = to_bytes(tensors)
    how = facts.preprocessing
    try:
        content = schema.ModelFile(
            format=1,
            dsnn_hpo_version=version("dsnn-hpo"),
            name=facts.name,
            dataset=facts.dataset,
            classes=list(facts.classes),
            preprocessing=schema.PreprocessingPart(mean=list(how.mean), std=list(how.std), image_size=how.image_size),
            configuration=dict(facts.configuration),
            plan=plan,
            weights_bytes=len(weights),
            weights_sha256=sha256(weights),
        )
    except ValidationError as error:
        raise InputError(f"the model cannot be saved: {_first(error)}") from error
    if trouble := _misfit(content):
        raise InputError(f"the model cannot be saved: {trouble}")
    # What would not load again must not be written.
    check_plan(restored(content.plan, tensors))
    files = {MODEL: content.model_dump_json(indent=1).encode() + b"\n", WEIGHTS: weights}
    card = model_card(executor.plan, facts, len(weights)).encode()
    extra = {name: text.encode() for name, text in (extra_files or {}).items()}
    write_folder(Path(folder), {**extra, **files, SUMS: sums_of(files), CARD: card})


def load_model(folder: str | Path) -> DeployedModel:
    """Returns the model of a folder, which may come from anywhere: no file of it is trusted.

    Sizes are bounded before anything is read, checksums compared, each field of each step checked, and the steps
    against each other, before a kernel runs. Nothing is unpickled. The model card is not read.

    Raises:
        ModelFolderError: a file is missing, damaged, or no such model; names the file and the field.
    """
    folder = Path(folder)
    files = {MODEL: read_file(folder, MODEL), WEIGHTS: read_file(folder, WEIGHTS)}
    check_sums(folder, files)
    try:
        content = schema.ModelFile.model_validate_json(files[MODEL])
    except ValidationError as error:
        raise ModelFolderError(f"{folder / MODEL}: {_first(error)}") from error
    if trouble := _misfit(content):
        raise ModelFolderError(f"{folder / MODEL}: {trouble}")
    if (len(files[WEIGHTS]), sha256(files[WEIGHTS])) != (content.weights_bytes, content.weights_sha256):
        raise ModelFolderError(f"{folder / MODEL}: weights_sha256 and weights_bytes are not those of {WEIGHTS}")
    try:
        tensors = from_bytes(files[WEIGHTS])
    except ValueError as error:
        raise ModelFolderError(f"{folder / WEIGHTS}: {error}") from error
    try:
        plan = restored(content.plan, tensors)
        check_plan(plan)
    except ModelFolderError as error:
        raise ModelFolderError(f"{folder}: {error}") from error
    return DeployedModel(Executor(plan), _facts(content))


def _facts(content: schema.ModelFile) -> ModelFacts:
    how = content.preprocessing
    return ModelFacts(
        name=content.name,
        classes=tuple(content.classes),
        preprocessing=Preprocessing(tuple(how.mean), tuple(how.std), how.image_size),
        dataset=content.dataset,
        configuration=content.configuration,
    )


def _misfit(content: schema.ModelFile) -> str:
    """Returns what does not fit together in the fields beside the plan, or nothing."""
    n_channels = content.plan.input_shape[0]
    for field in ("mean", "std"):
        n = len(getattr(content.preprocessing, field))
        if n != n_channels:
            return f"preprocessing.{field}: {n} values for {n_channels} channels"
    if len(content.classes) != content.plan.n_outputs:
        return f"classes: {len(content.classes)} names for {content.plan.n_outputs} outputs"
    return ""


def _first(error: ValidationError) -> str:
    """Returns the first error as ``field: what is wrong``; what was found is the file's own text, so it is cut short."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{place}: {first['msg']}"[:MAX_SHOWN]
