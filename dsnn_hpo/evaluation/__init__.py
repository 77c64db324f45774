"""The target function of a search: a trial and a task in, a result out; what a worker runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsnn_hpo.evaluation._config import TaskConfig
from dsnn_hpo.evaluation._progress import Progress, progress_path, read_progress

if TYPE_CHECKING:
    from dsnn_hpo.evaluation._evaluate import Target, Task, add_import_paths, evaluate, output_shape

__all__ = [
    "Progress",
    "Target",
    "Task",
    "TaskConfig",
    "add_import_paths",
    "evaluate",
    "output_shape",
    "progress_path",
    "read_progress",
]


def __getattr__(name: str) -> Any:
    # Imported at first use: reading an experiment file must not load torch.
    if name in __all__:
        from dsnn_hpo.evaluation import _evaluate

        return getattr(_evaluate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
