"""The door to safetensors: named tensors to bytes and back, without pickle."""

from __future__ import annotations

from collections.abc import Mapping

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Returns the file of named tensors, whose dtypes stay as they are."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def from_bytes(content: bytes) -> dict[str, Tensor]:
    """Returns the tensors of a file; raises ValueError where it is damaged: sizes are checked against the content."""
    try:
        return safetensors.torch.load(content)
    # Of a dtype that safetensors knows and torch does not, it raises KeyError.
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"no safetensors file: {error}") from error
