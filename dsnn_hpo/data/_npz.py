"""NumPy archives of images and labels."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dsnn_hpo.data._samples import Dataset, Samples, numbered_dataset
from dsnn_hpo.errors import DataError

MAX_BYTES = 8 << 30
N_CHANNELS = (1, 3, 4)


def read_npz(path: Path) -> Dataset:
    """Returns the data set of an archive with ``x_train, y_train[, x_test, y_test]`` or ``x, y``.

    Images are (N, H, W) or (N, H, W, C), uint8 or floats in [0, 1]; labels are integers (N,). Nothing is unpickled.
    Raises DataError naming the array and what is wrong with it.
    """
    arrays = _arrays(path)
    suffix = "_train" if "x_train" in arrays else ""
    if missing := [name for name in (f"x{suffix}", f"y{suffix}") if name not in arrays]:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise DataError(f"{path}: has no {missing[0]}; expected x_train, y_train or x, y, found {found}")
    pool = _samples(arrays[f"x{suffix}"], arrays[f"y{suffix}"], path, suffix)
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path}: has one of x_test and y_test; expected both or neither")
    test = _samples(arrays["x_test"], arrays["y_test"], path, "_test") if "x_test" in arrays else None
    return numbered_dataset("npz", pool, test, path)


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > MAX_BYTES:
            raise DataError(f"{path}: holds {n_bytes} bytes, more than the {MAX_BYTES} that are read")
        with np.load(path, allow_pickle=False) as archive:
            wanted = {"x_train", "y_train", "x_test", "y_test", "x", "y"}
            return {name: archive[name] for name in archive.files if name in wanted}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError) as error:
        raise DataError(f"{path}: is not a readable .npz archive ({error})") from error


def _samples(x: npt.NDArray[Any], y: npt.NDArray[Any], path: Path, suffix: str) -> Samples:
    where = f"{path}: x{suffix}"
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.shape[3] not in N_CHANNELS or 0 in x.shape[1:]:
        raise DataError(f"{where} has shape {x.shape}; expected (N, H, W) or (N, H, W, C) with C one of {N_CHANNELS}")
    if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{path}: y{suffix} is {y.dtype} {y.shape}; expected integers of shape ({len(x)},)")
    pixels = np.ascontiguousarray(_bytes(x, where).transpose(0, 3, 1, 2))
    return Samples(torch.from_numpy(pixels), torch.from_numpy(y.astype(np.int64)))


def _bytes(x: npt.NDArray[Any], where: str) -> npt.NDArray[np.uint8]:
    if x.dtype == np.uint8:
        return x
    if not np.issubdtype(x.dtype, np.floating):
        raise DataError(f"{where} is {x.dtype}; expected uint8 or floats in [0, 1]")
    if x.size and not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        raise DataError(f"{where} has values from {x.min()} to {x.max()}; floats must lie in [0, 1]")
    pixels: npt.NDArray[np.uint8] = np.rint(x * 255).astype(np.uint8)
    return pixels
