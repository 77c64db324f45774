"""Multi-objective, multi-fidelity AutoML for multiplication-free neural networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsnn_hpo.experiment import ExperimentConfig, FrontMember, run

__all__ = ["ExperimentConfig", "FrontMember", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported at first use: the command line must start fast.
    if name in __all__:
        from dsnn_hpo import experiment

        return getattr(experiment, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
