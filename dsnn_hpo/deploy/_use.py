"""A model on what lies on disk: image files, arrays, data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dsnn_hpo.data import (
    DATASETS,
    Samples,
    load_dataset,
    load_split,
    prepare,
    read_class_folders,
    read_image,
)
from dsnn_hpo.deploy._model import DeployedModel, error_rate
from dsnn_hpo.errors import DataError, InputError, one_of

ARRAY = ".npy"


@dataclass(frozen=True, slots=True)
class FilePrediction:
    """What a model says of an image: its file (of an array also the place in it), the class, its probability."""

    image: str
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The share of misclassified images, 0 to 1, how many there were, and which."""

    error: float
    n_images: int
    images: str


def predict_files(model: DeployedModel, files: Sequence[Path]) -> Iterator[FilePrediction]:
    """Yields what a model says of image files, and of arrays (.npy) of uint8 pixels, one or several images each.

    An image is resized to the model's size and becomes grey where it has one channel; arrays must have the shape.

    Raises:
        InputError: a file cannot be read, or holds something else.
    """
    for file in files:
        if file.suffix.lower() != ARRAY:
            yield from _predicted(model, read_image(file, model.input_shape)[None], [str(file)])
            continue
        pixels = _array(file, model.input_shape)
        try:
            yield from _predicted(model, pixels, [f"{file}[{index}]" for index in range(len(pixels))])
        except InputError as error:
            raise DataError(f"{file}: {error}") from error


def evaluate_on(model: DeployedModel, data: str, path: Path | None = None, split: Path | None = None) -> Evaluation:
    """Returns a model's error on a data set.

    Args:
        model: to evaluate.
        data: the name of a data set, whose test images count, all of its images where it has none of its own; or a
            folder of images in folders named after their classes.
        path: where the data set of that name lies.
        split: a run's ``split.npz``, whose test part counts instead.

    Raises:
        InputError: the data are missing or damaged, or have other classes or shapes than the model.
    """
    if data not in DATASETS and Path(data).is_dir():
        if path is not None or split is not None:
            raise DataError(f"{data} is a folder of images; a path and a split are those of a data set by name")
        samples = read_class_folders(Path(data), model.classes, model.input_shape)
        return Evaluation(error_rate(model, samples), len(samples), f"the images in {data}")
    samples, images = _of_dataset(model, data, path, split)
    return Evaluation(error_rate(model, samples), len(samples), images)


def _predicted(model: DeployedModel, pixels: Tensor, names: Sequence[str]) -> Iterator[FilePrediction]:
    found = model.predict(pixels)
    highest = found.probabilities.amax(dim=1).tolist()
    yield from map(FilePrediction, names, found.labels, highest)


def _array(file: Path, input_shape: tuple[int, int, int]) -> Tensor:
    try:
        # Mapped: a header that promises more than the file holds must not take memory for it.
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DataError(f"{file}: is not a readable array ({error})") from error
    if array.dtype != np.uint8:
        raise DataError(f"{file}: holds {array.dtype}, expected uint8, pixels of 0 to 255")
    n_channels, height, width = input_shape
    shape = array.shape[1:] if array.ndim == 4 else array.shape
    if shape == (height, width) and n_channels == 1:
        shape = input_shape
    if shape != input_shape:
        raise DataError(f"{file}: has shape {array.shape}, expected {input_shape}, or several of them")
    return torch.from_numpy(np.array(array).reshape(-1, *input_shape))


def _of_dataset(model: DeployedModel, name: str, path: Path | None, split: Path | None) -> tuple[Samples, str]:
    """Returns the images to evaluate on, labelled as the model's classes are, and which they are in words."""
    dataset = load_dataset(name, path, model.facts.preprocessing.image_size)
    if split is not None:
        samples, images = prepare(dataset, load_split(split)).test, f"the test part of {split}"
    elif dataset.test is not None:
        samples, images = dataset.test, f"the test images of {name}"
    else:
        samples, images = dataset.pool, f"all images of {name}, which has no test images of its own"
    number = {label: index for index, label in enumerate(model.classes)}
    for label in dataset.classes:
        if label not in number:
            raise DataError(f"the data set {name!r} has a class that the model has not: {one_of(label, model.classes)}")
    labels = torch.tensor([number[label] for label in dataset.classes])[samples.labels]
    return Samples(samples.images, labels), images
