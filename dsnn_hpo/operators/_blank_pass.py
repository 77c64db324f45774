"""Running a model once, to see what it executes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def run_blank_sample(model: nn.Module, input_shape: Sequence[int]) -> None:
    """Runs one sample of zeros of ``input_shape``, without the batch dimension, through the model in evaluation mode.

    On the model's device and in the dtype of its parameters, without gradients. Training modes and random state are
    as before; forward hooks are called.
    """
    modes = [(module, module.training) for module in model.modules()]
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    sample = torch.zeros(1, *input_shape, dtype=like.dtype, device=like.device)
    try:
        model.eval()
        devices = [sample.device] if sample.is_cuda else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            model(sample)
    finally:
        for module, mode in modes:
            module.training = mode
