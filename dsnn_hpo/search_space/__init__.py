"""Search spaces: ConfigSpace's own YAML, checked against what training and the model understand."""

from dsnn_hpo.search_space._configspace import mend
from dsnn_hpo.search_space._files import find_space, shipped_spaces
from dsnn_hpo.search_space._hyperparameters import (
    ALL_CONVOLUTIONS,
    HYPERPARAMETERS,
    N_STAGES,
    OPERATORS,
    Hyperparameter,
    stage_hyperparameter,
)
from dsnn_hpo.search_space._load import check_fixed, load_search_space, plain
from dsnn_hpo.search_space._model_bound import ModelFacts
from dsnn_hpo.search_space._safe_yaml import read_yaml

mend()

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
