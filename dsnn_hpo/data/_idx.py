"""IDX files, the format of MNIST and its kin: https://yann.lecun.org/exdb/mnist describes it.

A big-endian header (two zero bytes, a type code, the number of dimensions, each dimension as uint32), then the values.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dsnn_hpo.data._samples import Dataset, Samples, named_dataset, numbered_dataset
from dsnn_hpo.errors import DataError

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
UBYTE = 0x08
# Larger than any published set in this format; a damaged header must not make us reserve terabytes.
MAX_BYTES = 4 << 30


def missing_idx_files(folder: Path) -> tuple[str, ...]:
    """Returns the names of the four files that are in ``folder`` neither plain nor gzipped."""
    return tuple(f"{stem}[.gz]" for stem in STEMS if _file(folder, stem) is None)


def read_idx_folder(name: str, folder: Path, classes: tuple[str, ...] | None = None) -> Dataset:
    """Returns the data set of the four IDX files in ``folder``; raises DataError naming a damaged file."""
    train_images, train_labels, test_images, test_labels = (_read(folder, stem) for stem in STEMS)
    pool = _samples(train_images, train_labels, folder / STEMS[0])
    test = _samples(test_images, test_labels, folder / STEMS[2])
    if classes is None:
        return numbered_dataset(name, pool, test, folder)
    return named_dataset(name, classes, pool, test, folder)


def _file(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)


def _read(folder: Path, stem: str) -> npt.NDArray[np.uint8]:
    path = _file(folder, stem)
    if path is None:
        raise DataError(f"{folder / stem}[.gz] is missing")
    return read_idx(path, n_dimensions=3 if "images" in stem else 1)


def read_idx(path: Path, n_dimensions: int) -> npt.NDArray[np.uint8]:
    """Returns the values of one IDX file of unsigned bytes, gzipped if its name ends in ``.gz``.

    Raises DataError naming the file if its magic number, its type, its length or its compression is wrong.
    """
    header_size = 4 + 4 * n_dimensions
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            shape = _shape(stream.read(header_size), n_dimensions, path)
            n_values = math.prod(shape)
            if n_values > MAX_BYTES:
                raise DataError(f"{path}: the header declares {shape} values, more than {MAX_BYTES} bytes")
            # One byte more than declared, to notice what follows the declared values.
            data = stream.read(n_values + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); is the file complete?") from error
    if len(data) != n_values:
        found = "more" if len(data) > n_values else f"only {len(data)}"
        raise DataError(f"{path}: the header declares {shape}, {n_values} bytes of values, but there are {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _shape(header: bytes, n_dimensions: int, path: Path) -> tuple[int, ...]:
    expected = bytes((0, 0, UBYTE, n_dimensions))
    if header[:4] != expected:
        raise DataError(
            f"{path}: starts with 0x{header[:4].hex()}, but an IDX file of unsigned bytes "
            f"in {n_dimensions} dimensions starts with 0x{expected.hex()}"
        )
    if len(header) < 4 + 4 * n_dimensions:
        raise DataError(f"{path}: ends within its header of {4 + 4 * n_dimensions} bytes")
    return struct.unpack(f">{n_dimensions}I", header[4:])


def _samples(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], path: Path) -> Samples:
    if len(images) != len(labels):
        raise DataError(f"{path}: holds {len(images)} images, but its labels' file holds {len(labels)} labels")
    # frombuffer's arrays are read-only, which tensors cannot be.
    return Samples(torch.tensor(images).unsqueeze(1), torch.tensor(labels.astype(np.int64)))
