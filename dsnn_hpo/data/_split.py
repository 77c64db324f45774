"""Seeded, stratified, disjoint splits, and how they are kept on disk."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsnn_hpo.data._samples import Dataset
from dsnn_hpo.errors import DataError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Sorted rows of a data set: ``train`` and ``validation`` of its pool, ``test`` of its official test set.

    Where the data set has no test set of its own, ``test`` are rows of the pool too and ``test_is_pool`` is true.
    """

    train: Indices
    validation: Indices
    test: Indices
    test_is_pool: bool

    def save(self, path: Path) -> None:
        """Returns nothing; writes the split as ``.npz``, aside and then in place of ``path``."""
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with aside.open("wb") as stream:
            np.savez(
                stream,
                train=self.train,
                validation=self.validation,
                test=self.test,
                test_is_pool=np.asarray(self.test_is_pool),
            )
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)


def load_split(path: Path) -> Split:
    """Returns the split that ``Split.save`` wrote; raises DataError if there is none or it is damaged."""
    try:
        # Opened here: of a damaged file NumPy would leave it open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            train, validation, test = (arrays[name] for name in ("train", "validation", "test"))
            test_is_pool = bool(arrays["test_is_pool"])
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: is not a readable split ({error})") from error
    for part in (train, validation, test):
        if part.dtype != np.int64 or part.ndim != 1:
            raise DataError(f"{path}: is not a readable split (indices are {part.dtype} {part.shape})")
    return Split(train, validation, test, test_is_pool)


@dataclass(frozen=True, slots=True)
class _Sizes:
    train: int
    validation: int
    test: int


def make_split(
    dataset: Dataset,
    seed: int,
    *,
    n_train: int | None = None,
    n_validation: int | None = None,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
) -> Split:
    """Returns a split with the classes in the same proportions in each part, and each class in every part.

    The official test set is the test part where there is one; else ``test_fraction`` of the pool is. Validation is
    ``n_validation`` images, or ``validation_fraction`` of the pool; with ``n_train`` given it shrinks with training,
    so that the ratio of the two stays that of the full split. The test part depends on seed and test_fraction alone.

    Raises:
        DataError: a fraction or number that cannot be had, or a class with too few images.
    """
    labels = dataset.pool.labels.numpy()
    n_pool, n_classes = len(labels), len(dataset.classes)
    fractions = (validation_fraction, test_fraction if dataset.test is None else None)
    sizes = _sizes(n_pool, n_classes, n_train, n_validation, fractions)
    counts = np.bincount(labels, minlength=n_classes).astype(np.int64)
    _check_classes(dataset, counts)
    order = np.random.default_rng(seed).permutation(n_pool)
    groups = [order[labels[order] == c] for c in range(n_classes)]
    if dataset.test is None:
        test, groups = _take(groups, counts, sizes.test, n_parts_after=2)
    else:
        test = np.arange(len(dataset.test), dtype=np.int64)
    validation, groups = _take(groups, counts, sizes.validation, n_parts_after=1)
    train, _ = _take(groups, counts, sizes.train, n_parts_after=0)
    return Split(train, validation, test, test_is_pool=dataset.test is None)


def _check_classes(dataset: Dataset, counts: Indices) -> None:
    n_parts = 3 if dataset.test is None else 2
    if counts.min() < n_parts:
        raise DataError(
            f"class {dataset.classes[int(counts.argmin())]!r} of {dataset.name} has {counts.min()} images; "
            f"it needs {n_parts}, one for each part of the split"
        )


def _sizes(
    n_pool: int,
    n_classes: int,
    n_train: int | None,
    n_validation: int | None,
    fractions: tuple[float, float | None],
) -> _Sizes:
    validation_fraction, test_fraction = fractions
    taken = [fraction for fraction in fractions if fraction is not None]
    if not all(0 < fraction < 1 for fraction in taken) or sum(taken) >= 1:
        named = f"validation_fraction={validation_fraction}"
        named += "" if test_fraction is None else f" and test_fraction={test_fraction}"
        raise DataError(f"{named} must lie between 0 and 1 and leave something to train on")
    n_test = 0 if test_fraction is None else round(test_fraction * n_pool)
    if n_validation is None:
        n_validation = round(validation_fraction * n_pool)
        if n_train is not None:
            n_validation = min(n_validation, round(n_train * validation_fraction / (1 - sum(taken))))
    n_left = n_pool - n_test
    if n_train is None:
        n_train = max(0, n_left - n_validation)
    if n_train + n_validation > n_left:
        raise DataError(
            f"n_train={n_train} and n_validation={n_validation} images cannot be had: the pool of {n_pool} "
            f"less {n_test} for testing leaves {n_left}; lower one of them"
        )
    parts = {"train": n_train, "validation": n_validation} | ({} if test_fraction is None else {"test": n_test})
    for part, n in parts.items():
        if n < n_classes:
            raise DataError(f"the {part} part has {n} images; {n_classes} classes need at least one each")
    return _Sizes(n_train, n_validation, n_test)


def _take(groups: list[Indices], counts: Indices, n: int, *, n_parts_after: int) -> tuple[Indices, list[Indices]]:
    """Returns ``n`` sorted rows, the first of each class's group, and the groups without them."""
    available = np.asarray([len(group) for group in groups]) - n_parts_after
    quotas = _apportion(n, counts, available)
    taken = np.concatenate([group[:quota] for group, quota in zip(groups, quotas, strict=True)])
    rest = [group[quota:] for group, quota in zip(groups, quotas, strict=True)]
    return np.sort(taken).astype(np.int64), rest


def _apportion(n: int, counts: Indices, available: Indices) -> Indices:
    """Returns whole numbers that add up to ``n``, in proportion to ``counts``, each from 1 to ``available``.

    The method of largest remainders; where a bound binds, the others make up for it.
    """
    ideal = n * counts / counts.sum()
    quotas: Indices = np.clip(np.floor(ideal), 1, available).astype(np.int64)
    while missing := n - int(quotas.sum()):
        step = 1 if missing > 0 else -1
        can_move = quotas < available if step > 0 else quotas > 1
        quotas[np.where(can_move, step * (ideal - quotas), -np.inf).argmax()] += step
    return quotas
