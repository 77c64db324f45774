"""What differs between the kinds of hyperparameters: how many values they have, and which."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ConfigSpace.hyperparameters import (
    BetaFloatHyperparameter,
    BetaIntegerHyperparameter,
    CategoricalHyperparameter,
    Constant,
    Hyperparameter,
    NormalFloatHyperparameter,
    NormalIntegerHyperparameter,
    NumericalHyperparameter,
    OrdinalHyperparameter,
)

Floats = npt.NDArray[np.float64]

N_GRID = 2001


def n_values_of(hyperparameter: Hyperparameter[Any, Any]) -> float:
    """Returns how many values there are; infinitely many of a float."""
    return 1.0 if isinstance(hyperparameter, Constant) else float(hyperparameter.size)


def has_shape(hyperparameter: Hyperparameter[Any, Any]) -> bool:
    """Returns whether some values are likelier than others."""
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return len(set(hyperparameter.probabilities)) > 1
    return isinstance(
        hyperparameter,
        NormalFloatHyperparameter | NormalIntegerHyperparameter | BetaFloatHyperparameter | BetaIntegerHyperparameter,
    )


def is_index(hyperparameter: Hyperparameter[Any, Any]) -> bool:
    """Returns whether a value's vector is its place among all, not a number in [0, 1]."""
    return isinstance(hyperparameter, CategoricalHyperparameter | OrdinalHyperparameter)


def width(hyperparameter: Hyperparameter[Any, Any]) -> int:
    """Returns how many features a model learns from."""
    return len(hyperparameter.choices) if isinstance(hyperparameter, CategoricalHyperparameter) else 1


def all_values(hyperparameter: Hyperparameter[Any, Any]) -> Floats:
    """Returns the vectors of all values, of which there must be finitely many."""
    n_values = int(n_values_of(hyperparameter))
    if isinstance(hyperparameter, Constant):
        return np.asarray([hyperparameter.to_vector(hyperparameter.value)], dtype=np.float64)
    if is_index(hyperparameter):
        return np.arange(n_values, dtype=np.float64)
    assert isinstance(hyperparameter, NumericalHyperparameter)
    values = np.arange(int(hyperparameter.lower), int(hyperparameter.upper) + 1)
    return np.asarray(hyperparameter.to_vector(values), dtype=np.float64)


def grid(hyperparameter: Hyperparameter[Any, Any]) -> Floats:
    """Returns all values, or so many of a number that they tell the highest density."""
    if n_values_of(hyperparameter) <= N_GRID:
        return all_values(hyperparameter)
    values = np.linspace(0.0, 1.0, N_GRID)
    is_whole = np.isfinite(n_values_of(hyperparameter))
    return np.asarray(hyperparameter.to_vector(hyperparameter.to_value(values)) if is_whole else values)
