"""Batches of normalised images, augmented as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dsnn_hpo.data._samples import Samples
from dsnn_hpo.errors import DataError, one_of

AUGMENTATIONS = ("flip", "crop", "cutout")
# Four pixels at 32x32, as is usual for CIFAR.
CROP_PADDING = 1 / 8
CUTOUT_SIDE = 1 / 4


def batches(
    samples: Samples,
    batch_size: int,
    *,
    mean: Tensor,
    std: Tensor,
    augmentation: Sequence[str] = (),
    generator: torch.Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Returns an iterator of (images float32 (B, C, H, W), labels int64 (B,)); the last batch may be smaller.

    With a generator the samples come shuffled, without one in their order. Augmentations take their random numbers,
    own ones for each image, from it: "crop" shifts by up to an eighth of the side into black, "flip" mirrors left to
    right, "cutout" greys (to the mean) a square of a quarter of the height and width (DeVries & Taylor 2017).

    Args:
        samples: what to iterate over.
        batch_size: images a batch.
        mean: float32 (C,), of pixels in [0, 1].
        std: float32 (C,), of pixels in [0, 1].
        augmentation: any of ``AUGMENTATIONS``; the order does not matter.
        generator: on the CPU.

    Raises:
        DataError: an unknown augmentation.
        ValueError: augmentation without a generator, or a batch size below 1.
    """
    check_augmentation(augmentation)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    if augmentation and generator is None:
        raise ValueError("augmentation needs a generator")
    return _batches(samples, batch_size, (mean, std), frozenset(augmentation), generator)


def check_augmentation(augmentation: Sequence[str]) -> None:
    """Returns nothing; raises DataError on an augmentation that does not exist."""
    for name in augmentation:
        if name not in AUGMENTATIONS:
            raise DataError(f"there is no augmentation {one_of(name, AUGMENTATIONS)}")


def _batches(
    samples: Samples,
    batch_size: int,
    moments: tuple[Tensor, Tensor],
    augmentation: frozenset[str],
    generator: torch.Generator | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    mean, std = (moment.reshape(1, -1, 1, 1) for moment in moments)
    n_samples = len(samples)
    order = None if generator is None else torch.randperm(n_samples, generator=generator)
    for start in range(0, n_samples, batch_size):
        rows = slice(start, start + batch_size)
        chosen = rows if order is None else order[rows]
        images, labels = samples.images[chosen], samples.labels[chosen]
        if generator is not None and "crop" in augmentation:
            images = _crop(images, generator)
        if generator is not None and "flip" in augmentation:
            images = _flip(images, generator)
        values = (images.float() / 255 - mean) / std
        if generator is not None and "cutout" in augmentation:
            values = _cutout(values, generator)
        yield values, labels.clone()


def _crop(images: Tensor, generator: torch.Generator) -> Tensor:
    n, _, height, width = images.shape
    pad_y, pad_x = max(1, int(height * CROP_PADDING)), max(1, int(width * CROP_PADDING))
    padded = functional.pad(images, (pad_x, pad_x, pad_y, pad_y))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    y = torch.randint(0, 2 * pad_y + 1, (n,), generator=generator)
    x = torch.randint(0, 2 * pad_x + 1, (n,), generator=generator)
    return windows[torch.arange(n), :, y, x]


def _flip(images: Tensor, generator: torch.Generator) -> Tensor:
    is_flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(is_flipped[:, None, None, None], images.flip(3), images)


def _cutout(values: Tensor, generator: torch.Generator) -> Tensor:
    n, _, height, width = values.shape
    # The centre may lie anywhere, so that the square may stick out of the image, as published.
    inside_y = _within(n, height, generator)[:, None, :, None]
    inside_x = _within(n, width, generator)[:, None, None, :]
    return values.masked_fill(inside_y & inside_x, 0.0)


def _within(n: int, length: int, generator: torch.Generator) -> Tensor:
    side = max(1, int(length * CUTOUT_SIDE))
    first = torch.randint(0, length, (n, 1), generator=generator) - side // 2
    position = torch.arange(length)
    return (position >= first) & (position < first + side)
