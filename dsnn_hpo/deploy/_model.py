"""A model that is ready to use: pixels in, classes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsnn_hpo.data import Samples, batches
from dsnn_hpo.deploy._facts import ModelFacts
from dsnn_hpo.errors import InputError
from dsnn_hpo.executor import Executor
from dsnn_hpo.kernels.plan import Plan

BATCH = 128


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says of n images.

    Attributes:
        labels: the most probable class of each, by name.
        indices: the same by number, int64 (n,).
        probabilities: of each class, float32 (n, classes): the softmax of the logits.
    """

    labels: tuple[str, ...]
    indices: Tensor
    probabilities: Tensor


class DeployedModel:
    """A frozen network with what it needs to take pixels; make one with ``load_model``."""

    def __init__(self, executor: Executor, facts: ModelFacts) -> None:
        self._executor = executor
        self._facts = facts

    @property
    def facts(self) -> ModelFacts:
        """Returns what is known of the model."""
        return self._facts

    @property
    def executor(self) -> Executor:
        """Returns the frozen network, which takes normalised inputs."""
        return self._executor

    @property
    def plan(self) -> Plan:
        """Returns the steps."""
        return self._executor.plan

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns the names of the classes, in the order of the logits."""
        return self._facts.classes

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Returns channels, height and width of an image."""
        return self.plan.input_shape

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the logits, float32 (n, classes), of normalised inputs x, float32 (n, c, h, w).

        They are those of the executor that was saved, bit by bit. Raises TypeError or ValueError as ``Executor.run``.
        """
        return self._executor(x)

    def logits(self, images: Tensor | npt.NDArray[np.uint8]) -> Tensor:
        """Returns the logits, float32 (n, classes), of images as ``predict`` takes them; raises InputError."""
        samples = self._samples(images)
        mean, std = (torch.tensor(moment) for moment in (self._facts.preprocessing.mean, self._facts.preprocessing.std))
        parts = [self(x) for x, _ in batches(samples, BATCH, mean=mean, std=std)]
        return torch.cat(parts) if parts else torch.empty((0, len(self.classes)))

    def predict(self, images: Tensor | npt.NDArray[np.uint8]) -> Predictions:
        """Returns the classes of images, uint8 of shape (n, c, h, w), or (c, h, w) for one; see ``data.read_image``.

        Raises:
            InputError: the images are of another dtype or shape.
        """
        logits = self.logits(images)
        indices = logits.argmax(dim=1)
        labels = tuple(self.classes[index] for index in indices.tolist())
        return Predictions(labels, indices, torch.softmax(logits, dim=1))

    def __repr__(self) -> str:
        """Returns the model's name and its steps."""
        return f"DeployedModel({self._facts.name!r},\n{self._executor.describe()}\n)"

    def _samples(self, images: Any) -> Samples:
        wanted = ", ".join(map(str, self.input_shape))
        if not isinstance(images, Tensor | np.ndarray):
            raise InputError(f"images must be a tensor or an array, not {type(images).__name__}")
        if images.dtype not in (torch.uint8, np.dtype(np.uint8)):
            raise InputError(f"images must be uint8, pixels of 0 to 255, not {images.dtype}")
        # A copy, where it must be: torch warns of arrays that cannot be written.
        pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.require(images, requirements=["C", "W"]))
        pixels = pixels[None] if pixels.dim() == 3 else pixels
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != self.input_shape:
            raise InputError(f"images have shape {tuple(images.shape)}, expected (n, {wanted}) or ({wanted})")
        return Samples(pixels, torch.zeros(len(pixels), dtype=torch.int64))


def error_rate(model: DeployedModel, samples: Samples) -> float:
    """Returns the share of misclassified samples, 0 to 1, whose labels count as the model's classes do.

    Raises:
        InputError: the images are of another shape than the model's, or there are none.
    """
    if not len(samples):
        raise InputError("an error rate needs at least one sample")
    found = model.logits(samples.images).argmax(dim=1)
    return int((found != samples.labels).sum()) / len(samples)
