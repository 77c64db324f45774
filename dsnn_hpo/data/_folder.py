"""Folders of class folders of images."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsnn_hpo.data._samples import Dataset, Samples
from dsnn_hpo.errors import DataError, one_of

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
CALTECH101_FOLDER = "101_ObjectCategories"
# Not one of the 101 categories: unrelated pictures that the archive carries beside them.
CALTECH101_EXCLUDED = frozenset({"BACKGROUND_Google"})

Listing = dict[str, list[Path]]


def missing_class_folders(path: Path) -> tuple[str, ...]:
    """Returns nothing if ``path`` holds class folders, directly or in its folder ``train``."""
    return () if path.is_dir() and _subfolders(path) else ("folders of images, one a class",)


def missing_caltech101(path: Path) -> tuple[str, ...]:
    """Returns nothing if ``path`` is, or holds, the extracted folder of Caltech-101."""
    return missing_class_folders(_caltech101_root(path))


def read_image_folder(path: Path, image_size: int | None) -> Dataset:
    """Returns the data set of ``path/CLASS/*.png`` or ``path/{train,test}/CLASS/*.png`` as RGB, classes by name.

    Images are resized to ``image_size`` pixels square; without it all must have one size. Raises DataError naming a
    broken image, an empty class, or two images of different size.
    """
    if _subfolders(path / "train"):
        listing = _list_images(path / "train")
        has_test = (path / "test").is_dir()
        tests = _list_images(path / "test") if has_test else None
        return _read("image_folder", path, (listing, tests), image_size)
    return _read("image_folder", path, (_list_images(path), None), image_size)


def read_caltech101(path: Path, image_size: int | None) -> Dataset:
    """Returns the 101 categories of Caltech-101 (Fei-Fei et al. 2004), without the background pictures."""
    listing = _list_images(_caltech101_root(path))
    kept = {name: files for name, files in listing.items() if name not in CALTECH101_EXCLUDED}
    return _read("caltech101", path, (kept, None), image_size)


def read_image(path: Path, input_shape: tuple[int, int, int]) -> Tensor:
    """Returns an image file as pixels, uint8 of ``input_shape``: grey for one channel, RGB for three, resized bilinearly.

    Raises:
        DataError: it is no readable image, or the shape has another number of channels.
    """
    n_channels, height, width = input_shape
    if n_channels not in (1, 3):
        raise DataError(f"{path}: an image file has 1 channel or 3, not {n_channels}; give an array (.npy)")
    return torch.from_numpy(_read_image(path, (width, height), n_channels).transpose(2, 0, 1).copy())


def read_class_folders(path: Path, classes: Sequence[str], input_shape: tuple[int, int, int]) -> Samples:
    """Returns the images of ``path/CLASS/*.png`` as ``read_image`` reads them, labelled by their places in ``classes``.

    Raises:
        DataError: a folder is no one of the classes, or holds no image, or a broken one.
    """
    listing = _list_images(path)
    if unknown := sorted(set(listing) - set(classes)):
        raise DataError(f"{path / unknown[0]}: there is no class {one_of(unknown[0], classes)}")
    number = {name: i for i, name in enumerate(classes)}
    pairs = [(file, number[name]) for name, files in listing.items() for file in files]
    images = torch.stack([read_image(file, input_shape) for file, _ in pairs])
    return Samples(images, torch.tensor([label for _, label in pairs], dtype=torch.int64))


def _caltech101_root(path: Path) -> Path:
    inner = path / CALTECH101_FOLDER
    return inner if inner.is_dir() else path


def _subfolders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_images(path: Path) -> Listing:
    listing = {}
    for folder in _subfolders(path):
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if not files:
            raise DataError(f"{folder}: holds no image; expected files ending in {', '.join(sorted(SUFFIXES))}")
        listing[folder.name] = files
    if not listing:
        raise DataError(f"{path}: holds no class folders")
    return listing


def _read(name: str, path: Path, listings: tuple[Listing, Listing | None], image_size: int | None) -> Dataset:
    pool, test = listings
    classes = tuple(pool)
    if test is not None and (unknown := sorted(set(test) - set(classes))):
        raise DataError(f"{path / 'test' / unknown[0]}: is a class that the folder 'train' lacks")
    files = [file for part in (pool, test or {}) for group in part.values() for file in group]
    size = (image_size, image_size) if image_size is not None else _common_size(files)
    return Dataset(
        name,
        classes,
        _samples(pool, classes, size),
        None if test is None else _samples(test, classes, size),
    )


def _samples(listing: Listing, classes: Sequence[str], size: tuple[int, int]) -> Samples:
    number = {name: i for i, name in enumerate(classes)}
    pairs = [(file, number[name]) for name, files in listing.items() for file in files]
    images = torch.empty((len(pairs), 3, size[1], size[0]), dtype=torch.uint8)
    for row, (file, _) in enumerate(pairs):
        images[row] = torch.from_numpy(_read_image(file, size).transpose(2, 0, 1))
    return Samples(images, torch.tensor([label for _, label in pairs], dtype=torch.int64))


def _common_size(files: Sequence[Path]) -> tuple[int, int]:
    first, *others = files
    size = _size(first)
    for file in others:
        if _size(file) != size:
            raise DataError(
                f"{file}: is {_size(file)} pixels (width, height), {first} is {size}; set image_size to resize all"
            )
    return size


def _size(file: Path) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file) as image:
                return image.size
        except _BROKEN as error:
            raise _broken(file, error) from error


def _read_image(
    file: Path, size: tuple[int, int], n_channels: int = 3
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file) as image:
                coloured = _rgb(image, file)
                wanted = coloured if n_channels == 3 else coloured.convert("L")
                pixels = np.array(wanted.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
                return pixels.reshape(size[1], size[0], n_channels)
        except _BROKEN as error:
            raise _broken(file, error) from error


def _rgb(image: Image.Image, file: Path) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{file}: has more than 8 bits a channel (mode {image.mode}); convert it to 8 bits")
    # A palette with transparency loses its colours unless it passes through RGBA.
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


# What Pillow raises on damaged files, over all the formats above.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def _broken(file: Path, error: BaseException) -> DataError:
    return DataError(f"{file}: is not a readable image ({error})")
