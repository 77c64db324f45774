"""Reads the pickles of the CIFAR archives without running anything that they name.

A pickle can call any importable function. Here every global it may name is replaced by a plain record of ours, so
that not even NumPy's own reconstruction runs; anything else is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsnn_hpo.errors import DataError


def read_pickled_dict(data: bytes, path: Path) -> dict[str, Any]:
    """Returns a pickled dictionary of numbers, strings, lists and uint8 arrays; keys and byte strings as str.

    Raises DataError naming ``path`` if the pickle is damaged or names anything but NumPy's arrays.
    """
    try:
        _check_sizes(data)
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    # What a damaged pickle makes the standard library's reader raise; it documents the list as open-ended.
    except (
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        raise DataError(f"{path}: is not a readable pickle ({error}); is the file complete?") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, expected a dictionary")
    return {_text(key): _array(value) for key, value in content.items()}


def _check_sizes(data: bytes) -> None:
    # The reader below reserves memory for the lengths and the memo's numbers that a pickle declares, however large.
    # Walking through it runs nothing and raises ValueError on a length beyond the data's end.
    for opcode, argument, _ in pickletools.genops(data):
        is_number_of_memory = opcode.name.endswith("PUT") or opcode.name == "FRAME"
        if is_number_of_memory and isinstance(argument, int) and argument > len(data):
            raise DataError(f"refused: the pickle declares {argument} in {len(data)} bytes")


class _Dtype:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: bytes | str, *_flags: object) -> None:
        self.code = _text(code)

    def __setstate__(self, state: object) -> None:
        """Byte order and fields: nothing that matters to single bytes."""


class _ArrayType:
    """Stands in for ``numpy.ndarray``, which published pickles name as an argument."""


class _Array:
    """Stands in for an array under reconstruction."""

    values: npt.NDArray[np.uint8]

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise DataError("an array has no readable state")
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _Dtype) or dtype.code not in ("u1", "uint8") or is_fortran:
            raise DataError("an array is not of unsigned bytes in C order")
        if not isinstance(data, bytes) or not isinstance(shape, tuple):
            raise DataError("an array has no readable values")
        if not all(isinstance(n, int) and n >= 0 for n in shape) or math.prod(shape) != len(data):
            raise DataError(f"an array of shape {shape} has {len(data)} bytes of values")
        self.values = np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _reconstruct(*_arguments: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # How Python 3 writes byte strings in the old protocols.
    if encoding != "latin1" or not isinstance(text, str):
        raise DataError(f"a byte string is encoded as {encoding!r}, expected latin1")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise DataError(f"refused: the pickle names {module}.{name}, which no published archive does") from None


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _array(value: object) -> object:
    return getattr(value, "values", None) if isinstance(value, _Array) else value
