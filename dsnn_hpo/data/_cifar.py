"""CIFAR-10 and CIFAR-100 in the two forms they are published in, as an archive or extracted.

Krizhevsky (2009), https://www.cs.toronto.edu/~kriz/cifar.html: the "binary version" holds records of label bytes and
3,072 bytes of red, green and blue planes; the "python version" holds pickles.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dsnn_hpo.data._safe_pickle import read_pickled_dict
from dsnn_hpo.data._samples import Dataset, Samples, named_dataset
from dsnn_hpo.errors import DataError

SHAPE = (3, 32, 32)
N_PIXELS = 3 * 32 * 32
# The largest published member, CIFAR-100's training set, has 155 MB.
MAX_MEMBER_BYTES = 1 << 30

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_CIFAR100_NAMES.split())


@dataclass(frozen=True, slots=True)
class _Form:
    """One published form: where its files lie and how labels are written in them."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    is_pickle: bool
    n_label_bytes: int = 1
    label_key: str = "labels"

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test)


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_FORMS = {
    "cifar10": (
        _Form(
            "cifar-10-binary.tar.gz",
            "cifar-10-batches-bin",
            tuple(f"{batch}.bin" for batch in _BATCHES),
            "test_batch.bin",
            is_pickle=False,
        ),
        _Form("cifar-10-python.tar.gz", "cifar-10-batches-py", _BATCHES, "test_batch", is_pickle=True),
    ),
    "cifar100": (
        _Form(
            "cifar-100-binary.tar.gz",
            "cifar-100-binary",
            ("train.bin",),
            "test.bin",
            is_pickle=False,
            n_label_bytes=2,
        ),
        _Form(
            "cifar-100-python.tar.gz",
            "cifar-100-python",
            ("train",),
            "test",
            is_pickle=True,
            label_key="fine_labels",
        ),
    ),
}
_CLASSES = {"cifar10": CIFAR10_CLASSES, "cifar100": CIFAR100_CLASSES}


def missing_cifar_files(name: str, path: Path) -> tuple[str, ...]:
    """Returns nothing if ``path`` is, or is a folder that holds, an archive or an extracted archive of ``name``."""
    if _locate(name, path) is not None:
        return ()
    return (" or ".join(f"{form.archive} or {form.folder}/ with {form.files[0]} ..." for form in _FORMS[name]),)


def read_cifar(name: str, path: Path) -> Dataset:
    """Returns ``cifar10`` or ``cifar100`` (fine labels) from an archive, an extracted folder or a folder of either.

    Nothing is written to disk. Raises DataError naming the damaged file or what is missing.
    """
    location = _locate(name, path)
    if location is None:
        raise DataError(f"{path}: {missing_cifar_files(name, path)[0]} is missing")
    wanted = tuple(file for form in _FORMS[name] for file in form.files)
    files = _members(location, wanted) if location.is_file() else _loose_files(location, wanted)
    form = next((form for form in _FORMS[name] if all(file in files for file in form.files)), None)
    if form is None:
        raise DataError(f"{location}: is no {' or '.join(f.archive for f in _FORMS[name])}: files are missing")
    parts = [_decode(form, files[file], location / file) for file in form.train]
    pool = Samples(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
    return named_dataset(name, _CLASSES[name], pool, _decode(form, files[form.test], location / form.test), path)


def _locate(name: str, path: Path) -> Path | None:
    if path.is_file():
        return path
    for form in _FORMS[name]:
        for folder in (path / form.folder, path):
            if all((folder / file).is_file() for file in form.files):
                return folder
        if (path / form.archive).is_file():
            return path / form.archive
    return None


def _loose_files(folder: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    present = [folder / file for file in wanted if (folder / file).is_file()]
    for file in present:
        _guard_size(file.stat().st_size, file)
    return {file.name: file.read_bytes() for file in present}


def _members(archive: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    # Read in memory by base name: no path that an archive names is ever used on disk.
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = member.name.rsplit("/", 1)[-1]
                if not member.isreg() or file not in wanted:
                    continue
                _guard_size(member.size, archive / member.name)
                stream = tar.extractfile(member)
                if stream is not None:
                    found[file] = stream.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{archive}: cannot be read ({error}); is the archive complete?") from error
    return found


def _guard_size(n_bytes: int, path: Path) -> None:
    if n_bytes > MAX_MEMBER_BYTES:
        raise DataError(f"{path}: has {n_bytes} bytes; no published file has more than {MAX_MEMBER_BYTES}")


def _decode(form: _Form, data: bytes, path: Path) -> Samples:
    if form.is_pickle:
        return _decode_pickle(data, form.label_key, path)
    n_record_bytes = form.n_label_bytes + N_PIXELS
    if not data or len(data) % n_record_bytes:
        raise DataError(f"{path}: has {len(data)} bytes, not a multiple of its records' {n_record_bytes}")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, n_record_bytes)
    # CIFAR-100 writes the coarse label first.
    return _samples(records[:, form.n_label_bytes :], records[:, form.n_label_bytes - 1].astype(np.int64))


def _decode_pickle(data: bytes, label_key: str, path: Path) -> Samples:
    content = read_pickled_dict(data, path)
    images, labels = content.get("data"), content.get(label_key)
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != N_PIXELS:
        raise DataError(f"{path}: 'data' must be an array of unsigned bytes of shape (N, {N_PIXELS})")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label <= 255 for label in labels):
        raise DataError(f"{path}: {label_key!r} must be a list of whole numbers from 0")
    if len(labels) != len(images):
        raise DataError(f"{path}: has {len(images)} images but {len(labels)} labels")
    return _samples(images, np.asarray(labels, dtype=np.int64))


def _samples(planes: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Samples:
    return Samples(torch.tensor(planes).reshape(-1, *SHAPE), torch.tensor(labels))
