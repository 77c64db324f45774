"""Which implementation of an op runs: the reference in plain torch, or the compiled library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum


class Implementation(Enum):
    """What may run an op.

    AUTO takes the compiled kernel where there is one for the device, dtype and shape, else the reference; REFERENCE
    takes the definition in plain torch; COMPILED takes the compiled kernel and raises KernelError where there is none.
    """

    AUTO = "auto"
    REFERENCE = "reference"
    COMPILED = "compiled"


_CURRENT: ContextVar[Implementation] = ContextVar("dsnn_hpo_implementation", default=Implementation.AUTO)


def current_implementation() -> Implementation:
    """Returns the implementation that ``use_implementation`` chose, AUTO outside of it."""
    return _CURRENT.get()


@contextmanager
def use_implementation(implementation: Implementation) -> Iterator[None]:
    """Makes all ops of this thread run by ``implementation`` inside the ``with`` block."""
    token = _CURRENT.set(implementation)
    try:
        yield
    finally:
        _CURRENT.reset(token)
