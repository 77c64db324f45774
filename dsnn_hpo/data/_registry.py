"""The data sets by name: where their files are expected, how to get them, how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from torch.nn import functional

from dsnn_hpo.data._cifar import missing_cifar_files, read_cifar
from dsnn_hpo.data._digits import read_digits
from dsnn_hpo.data._folder import (
    missing_caltech101,
    missing_class_folders,
    read_caltech101,
    read_image_folder,
)
from dsnn_hpo.data._idx import missing_idx_files, read_idx_folder
from dsnn_hpo.data._npz import read_npz
from dsnn_hpo.data._samples import Dataset, Samples
from dsnn_hpo.errors import DataError, one_of

MAX_IMAGE_SIZE = 4096
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DIGIT_CLASSES = tuple(str(digit) for digit in range(10))
IDX_FILES = "the four IDX files {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or with .gz, in one folder"


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """One entry of the registry.

    ``files`` says what is expected at the path, ``obtain`` how to get it; ``missing`` lists what a path lacks, without
    reading; ``read`` takes the path and the image size asked for. ``default_path`` is searched where no path is given.
    """

    files: str
    obtain: str
    missing: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, int | None], Dataset]
    default_path: Path | None = None


def _missing_npz(path: Path) -> tuple[str, ...]:
    return () if path.is_file() else ("the archive",)


def _cifar_source(name: str, title: str) -> DatasetSource:
    return DatasetSource(
        files=f"the binary or the python version of {title}, as the published .tar.gz or extracted",
        obtain="download it from https://www.cs.toronto.edu/~kriz/cifar.html",
        missing=lambda path: missing_cifar_files(name, path),
        read=lambda path, _: read_cifar(name, path),
    )


DATASETS: Mapping[str, DatasetSource | None] = MappingProxyType(
    {
        # Bundled: the one data set without files.
        "digits": None,
        "fashion_mnist": DatasetSource(
            files=IDX_FILES,
            obtain="on Debian `apt-get install dataset-fashion-mnist`, elsewhere "
            "https://github.com/zalandoresearch/fashion-mnist",
            missing=missing_idx_files,
            read=lambda path, _: read_idx_folder("fashion_mnist", path, FASHION_CLASSES),
            default_path=Path("/usr/share/datasets/fashion-mnist"),
        ),
        "mnist": DatasetSource(
            files=IDX_FILES,
            obtain="download them from a mirror of https://yann.lecun.org/exdb/mnist",
            missing=missing_idx_files,
            read=lambda path, _: read_idx_folder("mnist", path, DIGIT_CLASSES),
        ),
        "idx": DatasetSource(
            files=IDX_FILES,
            obtain="name the folder of your own files",
            missing=missing_idx_files,
            read=lambda path, _: read_idx_folder("idx", path),
        ),
        "cifar10": _cifar_source("cifar10", "CIFAR-10"),
        "cifar100": _cifar_source("cifar100", "CIFAR-100"),
        "image_folder": DatasetSource(
            files="images in folders named after their classes, or such folders in folders train and test",
            obtain="name the folder of your own images",
            missing=missing_class_folders,
            read=read_image_folder,
        ),
        "caltech101": DatasetSource(
            files="the extracted folder 101_ObjectCategories with one folder a category",
            obtain="download and extract caltech-101.zip from https://data.caltech.edu/records/mzrjq-6wc02",
            missing=missing_caltech101,
            read=read_caltech101,
        ),
        "npz": DatasetSource(
            files="a NumPy archive with x_train, y_train[, x_test, y_test] or x, y",
            obtain="write one with numpy.savez",
            missing=_missing_npz,
            read=lambda path, _: read_npz(path),
        ),
    }
)


def check_dataset(name: str, path: Path | None = None) -> None:
    """Returns nothing if the files of a data set are where they are expected; reads none of them.

    Raises:
        DataError: unknown name, or files are missing; says which, where, and how to get them.
    """
    _located(name, path)


def load_dataset(name: str, path: Path | None = None, image_size: int | None = None) -> Dataset:
    """Returns a data set read from disk, its images resized to ``image_size`` pixels square if that is given.

    Args:
        name: one of ``DATASETS``.
        path: the folder, archive or file; None where the data set is bundled or has a default place.
        image_size: pixels; resizing is bilinear with antialiasing and does not keep the aspect ratio.

    Raises:
        DataError: unknown name, missing or damaged files, or an impossible size.
    """
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise DataError(f"image_size is {image_size}; expected 1 to {MAX_IMAGE_SIZE} pixels")
    located = _located(name, path)
    dataset = read_digits() if located is None else located[0].read(located[1], image_size)
    return dataset if image_size is None else _resized(dataset, image_size)


def _located(name: str, path: Path | None) -> tuple[DatasetSource, Path] | None:
    if name not in DATASETS:
        raise DataError(f"there is no data set {one_of(name, DATASETS)}")
    source = DATASETS[name]
    if source is None:
        if path is not None:
            raise DataError(f"the data set {name!r} is bundled and takes no path, but {path} is given")
        return None
    where = path if path is not None else source.default_path
    if where is None:
        raise DataError(f"the data set {name!r} needs a path: {source.files}. To get it: {source.obtain}")
    if missing := source.missing(where):
        raise DataError(
            f"the data set {name!r} is not at {where}: missing {', '.join(missing)}. "
            f"Expected: {source.files}. To get it: {source.obtain}"
        )
    return source, where


def _resized(dataset: Dataset, image_size: int) -> Dataset:
    test = None if dataset.test is None else _resize(dataset.test, image_size)
    return Dataset(dataset.name, dataset.classes, _resize(dataset.pool, image_size), test)


def _resize(samples: Samples, image_size: int) -> Samples:
    if samples.images.shape[2:] == (image_size, image_size):
        return samples
    images = functional.interpolate(samples.images, size=(image_size, image_size), mode="bilinear", antialias=True)
    return Samples(images, samples.labels)
