"""From a data set and a split to what a training needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dsnn_hpo.data._samples import Dataset, Samples
from dsnn_hpo.data._split import Indices, Split
from dsnn_hpo.errors import DataError

# The means and deviations of the red, green and blue channels over ImageNet, as published with its networks.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedData:
    """The three parts of a split and the normalisation; ``mean`` and ``std`` float32 (C,), of pixels in [0, 1].

    ``classes`` are their names, in the order of the labels.
    """

    train: Samples
    validation: Samples
    test: Samples
    mean: Tensor
    std: Tensor
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]

    @property
    def n_classes(self) -> int:
        """Returns the number of classes."""
        return len(self.classes)


def prepare(
    dataset: Dataset, split: Split, normalization: Literal["standard", "imagenet"] = "standard"
) -> PreparedData:
    """Returns the parts of a split, with the training part's own mean and deviation or ImageNet's.

    Raises:
        DataError: the split was made for another data set, or ImageNet's three channels do not fit.
    """
    n_pool = len(dataset.pool)
    n_test = n_pool if split.test_is_pool else len(dataset.test or ())
    for indices, n_rows in ((split.train, n_pool), (split.validation, n_pool), (split.test, n_test)):
        _check(indices, n_rows, dataset.name)
    train = dataset.pool.at(split.train)
    n_channels = dataset.input_shape[0]
    if normalization == "imagenet":
        if n_channels != len(IMAGENET_MEAN):
            raise DataError(f"ImageNet's normalization has 3 channels, {dataset.name} has {n_channels}; use 'standard'")
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    else:
        mean, std = _moments(train.images)
    test = dataset.pool if split.test_is_pool or dataset.test is None else dataset.test
    return PreparedData(
        train=train,
        validation=dataset.pool.at(split.validation),
        test=test.at(split.test),
        mean=mean,
        std=std,
        classes=dataset.classes,
        input_shape=dataset.input_shape,
    )


def _check(indices: Indices, n_rows: int, name: str) -> None:
    if not len(indices) or indices.min() < 0 or indices.max() >= n_rows:
        raise DataError(f"the split does not fit the data set {name}: its rows must lie in 0 to {n_rows - 1}")


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    # From the histogram: exact, and without a float copy of all images.
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        weights = torch.bincount(images[:, channel].flatten(), minlength=256).numpy()
        mean = float(np.average(values, weights=weights))
        deviation = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
        means.append(mean)
        # A channel that never varies is all zero once centred, whatever it is divided by.
        stds.append(deviation or 1.0)
    return torch.tensor(means, dtype=torch.float32), torch.tensor(stds, dtype=torch.float32)
