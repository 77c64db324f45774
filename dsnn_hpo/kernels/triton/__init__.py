"""The ops of ``dsnn_hpo.kernels`` for GPUs, in Triton; importing this registers them for CUDA tensors.

Only modules of this package import triton, and this one does not.
"""

from __future__ import annotations

from dsnn_hpo.kernels.triton import _dispatch  # noqa: F401
