"""What an optimizer is told of a configuration before it is trained: figures that can be counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dsnn_hpo.data import Dataset
from dsnn_hpo.errors import DsnnHpoError
from dsnn_hpo.evaluation import Shape, Task, counted_figures
from dsnn_hpo.optimizers import KnownFigure
from dsnn_hpo.trial import Config, Objective, config_key

COUNTED = ("model_size_bytes", "hardware_energy_uj")


@dataclass(slots=True)
class _Counted:
    """The figures of one configuration's network after the other; the last one's are kept."""

    task: Task
    shape: Shape
    _key: str = ""
    _figures: Mapping[str, float] = field(default_factory=dict)

    def figures(self, config: Config) -> Mapping[str, float]:
        """Returns what can be counted; nothing where the network cannot be built: its trial will tell why."""
        key = config_key(config, 0)
        if key != self._key:
            try:
                figures = counted_figures(config, self.task, self.shape)
            except (DsnnHpoError, RuntimeError, TypeError, ValueError):
                figures = {}
            self._key, self._figures = key, figures
        return self._figures


@dataclass(frozen=True, slots=True)
class _Figure:
    """One figure of a configuration, or None where it cannot be counted."""

    name: str
    counted: _Counted

    def __call__(self, config: Config) -> float | None:
        return self.counted.figures(config).get(self.name)


def known_figures(objectives: Iterable[Objective], task: Task, dataset: Dataset) -> dict[str, KnownFigure]:
    """Returns, by name, how those of the objectives are had that need no training; picklable, and small."""
    counted = _Counted(task, Shape(dataset.input_shape, len(dataset.classes)))
    return {o.name: _Figure(o.name, counted) for o in objectives if o.name in COUNTED}
