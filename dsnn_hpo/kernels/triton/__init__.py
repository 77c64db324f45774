"""The ops of ``dsnn_hpo.kernels`` for GPUs, in Triton.

Only modules of this package import triton, and none does before the first CUDA tensor arrives.
"""

from __future__ import annotations

from dsnn_hpo.kernels.triton._dispatch import register

__all__ = ["register"]
