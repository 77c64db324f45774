"""What the user aims at: constraints that a configuration must keep, a reference point, weights of objectives."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsnn_hpo.errors import InputError, one_of
from dsnn_hpo.optimizers._config import BayesianConfig
from dsnn_hpo.trial import Objective

_FORM = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound of one figure of a result.

    Attributes:
        output: the figure, as something to minimise or to maximise.
        limit: the highest loss of it that is acceptable.
    """

    output: Objective
    limit: float

    @classmethod
    def parse(cls, text: str, objectives: Sequence[Objective]) -> Constraint:
        """Returns the constraint that a text such as ``"model_size_bytes <= 65536"`` states.

        Raises:
            InputError: the text is no bound, or bounds an objective from the side that is better anyway.
        """
        match = _FORM.fullmatch(text)
        try:
            value = float(match[3]) if match else math.nan
        except ValueError:
            value = math.nan
        if match is None or not math.isfinite(value):
            raise InputError(
                f"constraint {text!r} is none; write e.g. 'accuracy >= 0.8' or 'model_size_bytes <= 65536'"
            )
        name, goal = match[1], "minimize" if match[2] == "<=" else "maximize"
        output = next((o for o in objectives if o.name == name), None)
        if output is None:
            output = Objective(name, "minimize") if goal == "minimize" else Objective(name, "maximize")
        if output.goal != goal:
            raise InputError(f"constraint {text!r} bounds {name} from its better side: it is to {output.goal}")
        return cls(output, output.loss(value))


def check_aims(config: BayesianConfig, objectives: Sequence[Objective]) -> None:
    """Raises InputError where a constraint, the reference or the weights name something that is no objective."""
    names = [o.name for o in objectives]
    for text, constraint in zip(config.constraints, constraints_of(config, objectives), strict=True):
        if constraint.output.name not in names:
            raise InputError(f"constraint {text!r}: no objective {one_of(constraint.output.name, names)}")
    reference_losses(config, objectives)
    mean_one_weights(config, objectives)


def constraints_of(config: BayesianConfig, objectives: Sequence[Objective]) -> list[Constraint]:
    """Returns the constraints; raises InputError where one is none, or two bound the same figure."""
    constraints = [Constraint.parse(text, objectives) for text in config.constraints]
    names = [c.output.name for c in constraints]
    for text, name in zip(config.constraints, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"constraint {text!r}: another one bounds {name}, too; one for each figure is possible")
    return constraints


def reference_losses(config: BayesianConfig, objectives: Sequence[Objective]) -> dict[int, float]:
    """Returns the reference's losses by the objectives' numbers; raises InputError where it names something else."""
    names = [o.name for o in objectives]
    for name, value in config.reference.items():
        if name not in names:
            raise InputError(f"reference: no objective {one_of(name, names)}")
        if not math.isfinite(value):
            raise InputError(f"reference: {name} must be a finite number, not {value}")
    return {j: o.loss(config.reference[o.name]) for j, o in enumerate(objectives) if o.name in config.reference}


def mean_one_weights(config: BayesianConfig, objectives: Sequence[Objective]) -> npt.NDArray[np.float64] | None:
    """Returns the objectives' weights, 1 in the mean, or None where they are all alike; raises InputError as above."""
    names = [o.name for o in objectives]
    for name, weight in config.weights.items():
        if name not in names:
            raise InputError(f"weights: no objective {one_of(name, names)}")
        if not (math.isfinite(weight) and weight > 0):
            raise InputError(f"weights: {name} must be a number above 0, not {weight}")
    weights = np.asarray([config.weights.get(name, 1.0) for name in names], dtype=np.float64)
    return None if (weights == weights[0]).all() else weights / weights.mean()
