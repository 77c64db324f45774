"""Writers of the published formats, in small."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Bytes = npt.NDArray[np.uint8]


def _idx(values: Bytes) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@pytest.fixture
def idx_bytes() -> Callable[[Bytes], bytes]:
    return _idx


@pytest.fixture
def write_idx() -> Callable[..., dict[str, Bytes]]:
    def write(
        folder: Path, *, n_train: int = 40, n_test: int = 20, is_gz: bool = True, first_label: int = 0
    ) -> dict[str, Bytes]:
        rng = np.random.default_rng(0)
        arrays = {
            "train-images-idx3-ubyte": rng.integers(0, 256, (n_train, 9, 7), dtype=np.uint8),
            "train-labels-idx1-ubyte": (np.arange(n_train) % 4 + first_label).astype(np.uint8),
            "t10k-images-idx3-ubyte": rng.integers(0, 256, (n_test, 9, 7), dtype=np.uint8),
            "t10k-labels-idx1-ubyte": (np.arange(n_test) % 4 + first_label).astype(np.uint8),
        }
        for name, values in arrays.items():
            data = _idx(values)
            path = folder / (f"{name}.gz" if is_gz else name)
            path.write_bytes(gzip.compress(data) if is_gz else data)
        return arrays

    return write


def _short(data: bytes) -> bytes:
    # SHORT_BINSTRING or BINSTRING: the byte strings of Python 2.
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data


def python2_pickle(arrays: Mapping[str, Bytes], lists: Mapping[str, list[int]]) -> bytes:
    """Returns a protocol-2 pickle of a dictionary, opcode for opcode as Python 2 with NumPy 1 wrote it."""
    out = b"\x80\x02}("
    for key, values in arrays.items():
        out += _short(key.encode())
        out += b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _short(b"b") + b"\x87R"
        shape = b"".join(b"M" + struct.pack("<H", n) for n in values.shape)
        out += b"(K\x01" + b"(" + shape + b"t"
        out += b"cnumpy\ndtype\n" + _short(b"u1") + b"K\x00K\x01\x87R"
        minus_one = b"J\xff\xff\xff\xff"
        out += b"(K\x03" + _short(b"|") + b"NNN" + minus_one + minus_one + b"K\x00tb"
        out += b"\x89" + _short(values.tobytes()) + b"tb"
    for key, numbers in lists.items():
        out += _short(key.encode()) + b"](" + b"".join(b"K" + bytes([n]) for n in numbers) + b"e"
    return out + b"u."


def python3_pickle(arrays: Mapping[str, Bytes], lists: Mapping[str, list[int]]) -> bytes:
    content: dict[bytes, Any] = {key.encode(): value for key, value in {**arrays, **lists}.items()}
    return pickle.dumps(content, protocol=2)


@pytest.fixture(params=[python2_pickle, python3_pickle], ids=["python2", "python3"])
def pickled(request: pytest.FixtureRequest) -> Callable[..., bytes]:
    writer: Callable[..., bytes] = request.param
    return writer


Files = dict[str, bytes]


@pytest.fixture
def cifar_content() -> Callable[[str], list[tuple[str, Bytes, list[int]]]]:
    """Returns (file stem, planes (N, 3072), labels) of each published file, few images a file."""

    def content(name: str) -> list[tuple[str, Bytes, list[int]]]:
        rng = np.random.default_rng(1)
        stems = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"] if name == "cifar10" else ["train", "test"]
        n_classes = 10 if name == "cifar10" else 100
        return [
            (stem, rng.integers(0, 256, (6, 3072), dtype=np.uint8), rng.integers(0, n_classes, 6).tolist())
            for stem in stems
        ]

    return content


@pytest.fixture
def tar() -> Callable[[Path, Files], Path]:
    def write(path: Path, files: Files) -> Path:
        with tarfile.open(path, "w:gz") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path

    return write
