"""The target function of a search: a trial and a task in, a result out; what a worker runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dsnn_hpo.evaluation._config import TaskConfig
from dsnn_hpo.evaluation._places import model_folder
from dsnn_hpo.evaluation._progress import Progress, progress_path, read_progress

if TYPE_CHECKING:
    from dsnn_hpo.evaluation._again import MeasureAgain, measure_again
    from dsnn_hpo.evaluation._evaluate import Target, evaluate
    from dsnn_hpo.evaluation._figures import Figures, check_executor
    from dsnn_hpo.evaluation._inference import deployed
    from dsnn_hpo.evaluation._modelled import Shape, counted_figures, modelled_energy_uj
    from dsnn_hpo.evaluation._network import Task, add_import_paths, output_shape
    from dsnn_hpo.evaluation._shipped import model_facts
    from dsnn_hpo.evaluation._trained import TrainedNetwork, trained_network

# Imported at first use: reading an experiment file must not load torch.
_LAZY = {
    **dict.fromkeys(("MeasureAgain", "measure_again"), "_again"),
    **dict.fromkeys(("Figures", "check_executor"), "_figures"),
    **dict.fromkeys(("Target", "evaluate"), "_evaluate"),
    **dict.fromkeys(("Shape", "counted_figures", "modelled_energy_uj"), "_modelled"),
    "deployed": "_inference",
    **dict.fromkeys(("Task", "add_import_paths", "output_shape"), "_network"),
    "model_facts": "_shipped",
    **dict.fromkeys(("TrainedNetwork", "trained_network"), "_trained"),
}

MEASURED_FIGURES = frozenset(
    {"inference_energy_j", "emulation_energy_j", "latency_ms", "latency_p95_ms", "samples_per_s"}
)
"""Objectives that are measured, with noise, and not counted."""

__all__ = [
    "MEASURED_FIGURES",
    "Figures",
    "MeasureAgain",
    "Progress",
    "Shape",
    "Target",
    "Task",
    "TaskConfig",
    "TrainedNetwork",
    "add_import_paths",
    "check_executor",
    "counted_figures",
    "deployed",
    "evaluate",
    "measure_again",
    "model_facts",
    "model_folder",
    "modelled_energy_uj",
    "output_shape",
    "progress_path",
    "read_progress",
    "trained_network",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"dsnn_hpo.evaluation.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
