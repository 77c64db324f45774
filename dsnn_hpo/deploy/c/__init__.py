"""A model as one self-contained file of C99 that computes with integers alone, for microcontrollers."""

from __future__ import annotations

from dsnn_hpo.deploy.c._source import CSource, write_c

__all__ = ["CSource", "write_c"]
