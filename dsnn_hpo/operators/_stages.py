"""The stages of a network: runs of layers of one resolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from dsnn_hpo.operators._blank_pass import run_blank_sample
from dsnn_hpo.operators._convert import convertible


def stages(model: nn.Module, input_shape: tuple[int, ...]) -> Mapping[str, int]:
    """Returns the stage, from 0 on, of each convolution and linear layer, by qualified name, in order of execution.

    A stage is a run of layers, as they are executed, whose outputs have one height and width. What has no resolution
    of its own belongs to the stage it occurs in: linear layers, and convolutions to a single pixel, as those that
    weigh channels by their means. A layer that is executed more than once belongs to the stage of the first time; one
    that is never executed has none, and neither has one that is converted already: find stages before converting.

    One blank sample of ``input_shape``, without the batch dimension, runs through the model in evaluation mode, on its
    device. Training modes and random state are as before; forward hooks of the model's own are called.
    """
    tracker = _Tracker()
    handles = [module.register_forward_hook(tracker.hook(name)) for name, module in convertible(model).items()]
    try:
        run_blank_sample(model, input_shape)
    finally:
        for handle in handles:
            handle.remove()
    return tracker.stages


class _Tracker:
    """The stages of the layers that were executed so far."""

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}
        self._stage = 0
        self._resolution: tuple[int, ...] | None = None

    def hook(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        """Returns a forward hook for the layer of that name."""

        def executed(module: nn.Module, _inputs: Any, output: Tensor) -> None:
            resolution = tuple(output.shape[-2:])
            if isinstance(module, nn.Conv2d) and resolution not in ((1, 1), self._resolution):
                self._stage += self._resolution is not None
                self._resolution = resolution
            self.stages.setdefault(name, self._stage)

        return executed
