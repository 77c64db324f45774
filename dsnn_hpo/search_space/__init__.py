"""Search spaces: ConfigSpace's own YAML, checked against what training and the model understand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsnn_hpo.search_space._files import find_space, shipped_spaces
from dsnn_hpo.search_space._hyperparameters import (
    ALL_CONVOLUTIONS,
    HYPERPARAMETERS,
    N_STAGES,
    OPERATORS,
    Hyperparameter,
    stage_hyperparameter,
)
from dsnn_hpo.search_space._model_bound import ModelFacts
from dsnn_hpo.search_space._safe_yaml import read_yaml

if TYPE_CHECKING:
    from dsnn_hpo.search_space._load import check_fixed, load_search_space, plain

# Imported at first use: a worker, or a table of a front, does without ConfigSpace, which takes a second.
_LAZY = frozenset({"check_fixed", "load_search_space", "plain"})

__all__ = [
    "ALL_CONVOLUTIONS",
    "HYPERPARAMETERS",
    "N_STAGES",
    "OPERATORS",
    "Hyperparameter",
    "ModelFacts",
    "check_fixed",
    "find_space",
    "load_search_space",
    "plain",
    "read_yaml",
    "shipped_spaces",
    "stage_hyperparameter",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from dsnn_hpo.search_space import _load

        return getattr(_load, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
