"""The files of a model's folder: written aside and put in place as a whole, read with their sizes checked first."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from dsnn_hpo.errors import ModelFolderError

WEIGHTS, MODEL, CARD, SUMS = "weights.safetensors", "model.json", "README.md", "SHA256SUMS"
MAX_BYTES = {WEIGHTS: 2**29, MODEL: 2**24, SUMS: 2**12}
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z.]+)")


def sha256(content: bytes) -> str:
    """Returns the SHA-256 as hex digits."""
    return hashlib.sha256(content).hexdigest()


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Returns nothing; makes the folder with these files, or leaves nothing.

    Raises:
        ModelFolderError: the folder exists and is not empty, or it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelFolderError(f"{folder} exists and is not an empty folder; choose another one")
    aside = folder.absolute().with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        aside.mkdir(parents=True)
        for name, content in files.items():
            with (aside / name).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        aside.rename(folder)
    except OSError as error:
        raise ModelFolderError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sums_of(files: Mapping[str, bytes]) -> bytes:
    """Returns a file of checksums as ``sha256sum --check`` reads it."""
    return "".join(f"{sha256(content)}  {name}\n" for name, content in files.items()).encode()


def read_file(folder: Path, name: str) -> bytes:
    """Returns what a file of the folder holds; raises ModelFolderError where it is no file, or larger than it may be."""
    path = folder / name
    try:
        with open(path, "rb", opener=_open_at_once) as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ModelFolderError(f"{path}: is no ordinary file")
            if found.st_size > MAX_BYTES[name]:
                raise ModelFolderError(f"{path}: has {found.st_size} bytes, at most {MAX_BYTES[name]}")
            return stream.read(found.st_size)
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read: {error.strerror}; is {folder} an exported model?") from error


def _open_at_once(path: str, flags: int) -> int:
    # Of a named pipe in the place of a file, opening would wait for a writer.
    return os.open(path, flags | os.O_NONBLOCK)


def check_sums(folder: Path, files: Mapping[str, bytes]) -> None:
    """Returns nothing; raises ModelFolderError, naming the file, unless each has the checksum that the folder gives."""
    text = read_file(folder, SUMS).decode("ascii", "replace")
    lines = [_SUM_LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    sums = {line[2]: line[1] for line in lines if line is not None}
    if None in lines or not text.endswith("\n") or sums.keys() != files.keys():
        raise ModelFolderError(f"{folder / SUMS}: expected a line with the SHA-256 of each of {', '.join(files)}")
    for name, content in files.items():
        if sha256(content) != sums[name]:
            raise ModelFolderError(f"{folder / name}: its SHA-256 is not that of {SUMS}: the file is damaged")
