"""The compiled library: found and loaded once, its functions typed here."""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from dsnn_hpo.errors import DsnnHpoWarning, InputError, KernelError, one_of
from dsnn_hpo.kernels._implementation import Implementation, current_implementation

ABI_VERSION = 3
ISA_VARIABLE = "DSNN_HPO_ISA"
LIBRARY_VARIABLE = "DSNN_HPO_LIBRARY"
ISAS = ("portable", "avx2", "avx512", "avx512vnni")
_NAME = "libdsnn_kernels.so"
_HOW_TO_BUILD = "`pip install .` with a C++ compiler builds them (in a checkout `pip install -e .`)"


class _Library(ctypes.CDLL):
    # Attributes are looked up through this too.
    def __getitem__(self, name: Any) -> Any:
        try:
            return super().__getitem__(name)
        except AttributeError as error:
            raise KernelError(
                f"the compiled kernels in {self._name} have no function {name}: they are older than this package; {_HOW_TO_BUILD}"
            ) from error


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the compiled library, or None, with a warning once, where it was not built.

    Raises KernelError if the file is broken or of another version, InputError if the environment names a file that
    does not exist, or an instruction set that does not exist or that the processor lacks.
    """
    named = os.environ.get(LIBRARY_VARIABLE)
    path = Path(named or Path(__file__).parent / _NAME)
    if named and not path.is_file():
        raise InputError(
            f"environment variable {LIBRARY_VARIABLE}: there is no file {path}; name a built {_NAME}, or unset it to use "
            "the one that was installed"
        )
    if not path.exists():
        warnings.warn(
            f"the compiled kernels are not built ({path} is missing): everything runs on the slower reference in "
            f"plain torch; {_HOW_TO_BUILD}",
            DsnnHpoWarning,
            stacklevel=2,
        )
        return None
    loaded = _load(path)
    if wanted := os.environ.get(ISA_VARIABLE):
        try:
            set_isa(loaded, wanted)
        except ValueError as error:
            raise InputError(f"environment variable {ISA_VARIABLE}: {error}") from error
    return loaded


def _load(path: Path) -> ctypes.CDLL:
    # torch is imported above: its OpenMP runtime is loaded by now, and ours resolves to the same one.
    try:
        loaded = _Library(str(path))
    except OSError as error:
        raise KernelError(f"the compiled kernels cannot be loaded ({error}); {_HOW_TO_BUILD}") from error
    version = loaded.dsnn_abi_version()
    if version != ABI_VERSION:
        raise KernelError(
            f"the compiled kernels in {path} are of version {version}, this package needs {ABI_VERSION}; {_HOW_TO_BUILD}"
        )
    loaded.dsnn_isa.restype = ctypes.c_char_p
    loaded.dsnn_set_isa.argtypes = [ctypes.c_char_p]
    return loaded


def set_isa(loaded: ctypes.CDLL, name: str) -> None:
    """Returns nothing; makes the library use an instruction set.

    Raises ValueError where there is none of that name, or the processor lacks it.
    """
    if name not in ISAS:
        raise ValueError(f"no instruction set {one_of(name, ISAS)}")
    if loaded.dsnn_set_isa(name.encode()):
        raise ValueError(f"this processor has no {name}; it has {', '.join(_supported(loaded))}")


def isa() -> str | None:
    """Returns the instruction set that the compiled kernels use, or None, with a warning once, where they are not built.

    It is one of ``available_isas()``: the widest, unless the environment variable ``DSNN_HPO_ISA`` names another.
    Raises like any use of the kernels: KernelError if they are broken, InputError if the environment is wrong.
    """
    loaded = library()
    return None if loaded is None else _current(loaded)


def available_isas() -> tuple[str, ...]:
    """Returns the instruction sets that the compiled kernels can use on this processor; none where they are not built."""
    loaded = library()
    return () if loaded is None else _supported(loaded)


def _current(loaded: ctypes.CDLL) -> str:
    name: bytes = loaded.dsnn_isa()
    return name.decode()


def _supported(loaded: ctypes.CDLL) -> tuple[str, ...]:
    before = _current(loaded)
    try:
        return tuple(name for name in ISAS if loaded.dsnn_set_isa(name.encode()) == 0)
    finally:
        loaded.dsnn_set_isa(before.encode())


def compiled_library() -> ctypes.CDLL | None:
    """Returns the library that an op on CPU tensors should call now, or None for the reference.

    Raises KernelError where COMPILED is asked for and the library is missing.
    """
    wanted = current_implementation()
    if wanted is Implementation.REFERENCE:
        return None
    loaded = library()
    if loaded is None and wanted is Implementation.COMPILED:
        raise KernelError(f"the compiled kernels are asked for, but not built: {_HOW_TO_BUILD}")
    return loaded


def n_threads() -> int:
    """Returns torch's number of threads, which the kernels use too."""
    return torch.get_num_threads()
