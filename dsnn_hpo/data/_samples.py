"""The values every reader returns: images with labels, and a data set of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsnn_hpo.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Labelled images: ``images`` uint8 (N, C, H, W) with values 0 to 255, ``labels`` int64 (N,)."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 (N, C, H, W), not {self.images.dtype} {self.images.shape}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be int64 (N,), not {self.labels.dtype} {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, indices: npt.NDArray[np.int64]) -> Samples:
        """Returns a copy of the samples at ``indices``, in their order."""
        rows = torch.from_numpy(indices)
        return Samples(self.images[rows], self.labels[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set as published: the pool to train and select on, and the official test set where there is one."""

    name: str
    classes: tuple[str, ...]
    pool: Samples
    test: Samples | None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Returns (channels, height, width) of one image."""
        _, n_channels, height, width = self.pool.images.shape
        return n_channels, height, width

    @property
    def digest(self) -> str:
        """Returns the SHA-256 of all images and labels, as hex digits: whether data are still the same."""
        sha = hashlib.sha256()
        for samples in (self.pool, self.test):
            if samples is not None:
                sha.update(repr(tuple(samples.images.shape)).encode())
                sha.update(samples.images.contiguous().numpy().data)
                sha.update(samples.labels.contiguous().numpy().data)
        return sha.hexdigest()


def named_dataset(name: str, classes: tuple[str, ...], pool: Samples, test: Samples, path: Path) -> Dataset:
    """Returns a data set whose classes are known beforehand; raises DataError on a label that is none of them."""
    for part, samples in (("training", pool), ("test", test)):
        if not len(samples):
            raise DataError(f"{path}: the {part} set is empty; expected at least one image")
        top = int(samples.labels.max())
        if top >= len(classes):
            raise DataError(f"{path}: a label of the {part} set is {top}; allowed are 0 to {len(classes) - 1}")
    _same_shape(pool, test, path)
    return Dataset(name, classes, pool, test)


def numbered_dataset(name: str, pool: Samples, test: Samples | None, path: Path) -> Dataset:
    """Returns a data set whose classes are the distinct labels of the pool, renumbered from 0.

    The names of the classes are the labels as written. Raises DataError on a test label that the pool lacks.
    """
    if not len(pool):
        raise DataError(f"{path}: the training set is empty; expected at least one image")
    values, inverse = np.unique(pool.labels.numpy(), return_inverse=True)
    pool = Samples(pool.images, torch.from_numpy(inverse.astype(np.int64).reshape(-1)))
    if test is not None:
        labels = test.labels.numpy()
        if unknown := sorted(set(labels.tolist()) - set(values.tolist())):
            raise DataError(f"{path}: label {unknown[0]} occurs in the test set but not in the training set")
        test = Samples(test.images, torch.from_numpy(np.searchsorted(values, labels).astype(np.int64)))
        _same_shape(pool, test, path)
    return Dataset(name, tuple(str(value) for value in values), pool, test)


def _same_shape(pool: Samples, test: Samples, path: Path) -> None:
    ours, theirs = tuple(pool.images.shape[1:]), tuple(test.images.shape[1:])
    if ours != theirs:
        raise DataError(f"{path}: training images are {ours} (channels, height, width) but test images {theirs}")
