"""The compiled library: found and loaded once, its functions typed here."""

from __future__ import annotations

import ctypes
import functools
import os
import warnings
from pathlib import Path

import torch

from dsnn_hpo.errors import DsnnHpoWarning
from dsnn_hpo.kernels._implementation import Implementation, current_implementation

ABI_VERSION = 1
ISA_VARIABLE = "DSNN_HPO_ISA"
LIBRARY_VARIABLE = "DSNN_HPO_LIBRARY"
_NAME = "libdsnn_kernels.so"


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the compiled library, or None, with a warning once, where it was not built."""
    path = Path(os.environ.get(LIBRARY_VARIABLE) or Path(__file__).parent / _NAME)
    if not path.exists():
        warnings.warn(
            f"the compiled kernels are not built ({path} is missing): everything runs on the slower reference in "
            "plain torch; `pip install .` with a C++ compiler builds them",
            DsnnHpoWarning,
            stacklevel=2,
        )
        return None
    # torch is imported above: its OpenMP runtime is loaded by now, and ours resolves to the same one.
    loaded = ctypes.CDLL(str(path))
    if (version := loaded.dsnn_abi_version()) != ABI_VERSION:
        raise RuntimeError(f"{path} is of another version ({version}, not {ABI_VERSION}): build it again")
    loaded.dsnn_isa.restype = ctypes.c_char_p
    if wanted := os.environ.get(ISA_VARIABLE):
        set_isa(loaded, wanted)
    return loaded


def set_isa(loaded: ctypes.CDLL, name: str) -> None:
    """Returns nothing; makes the library use an instruction set. Raises ValueError where the processor lacks it."""
    if loaded.dsnn_set_isa(name.encode()):
        raise ValueError(
            f"{ISA_VARIABLE}: this processor has no instruction set {name!r}; there are portable, avx2, avx512, avx512vnni"
        )


def compiled_library() -> ctypes.CDLL | None:
    """Returns the library that an op on CPU tensors should call now, or None for the reference.

    Raises RuntimeError where COMPILED is asked for and the library is missing.
    """
    wanted = current_implementation()
    if wanted is Implementation.REFERENCE:
        return None
    loaded = library()
    if loaded is None and wanted is Implementation.COMPILED:
        raise RuntimeError("the compiled kernels are not built: `pip install .` with a C++ compiler builds them")
    return loaded


def n_threads() -> int:
    """Returns torch's number of threads, which the kernels use too."""
    return torch.get_num_threads()
