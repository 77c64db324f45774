"""The hyperparameters that training and conversion understand: names, legal values, defaults, meanings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from dsnn_hpo.errors import one_of
from dsnn_hpo.trial import Scalar

ALL_CONVOLUTIONS = 1000
"""A ``shift_depth`` above every network's number of convolutions: all of them are converted."""


MAX_INT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Interval:
    """The legal numbers between two bounds; an open bound is itself illegal."""

    lower: float
    upper: float
    is_lower_open: bool = False
    is_upper_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.lower if self.is_lower_open else value >= self.lower
        below = value < self.upper if self.is_upper_open else value <= self.upper
        return above and below

    def __str__(self) -> str:
        low = "" if self.lower == -math.inf else f"{self.lower:g} {'<' if self.is_lower_open else '<='} "
        high = "" if self.upper == math.inf else f" {'<' if self.is_upper_open else '<='} {self.upper:g}"
        return f"{low}value{high}"


ANY_NUMBER = Interval(-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """A name that may be searched, and what its values may be."""

    name: str
    kind: Literal["int", "float", "choice", "bool", "text"]
    default: Scalar
    meaning: str
    interval: Interval = ANY_NUMBER
    choices: tuple[str, ...] = ()
    is_case_sensitive: bool = True

    @property
    def is_numeric(self) -> bool:
        """Returns whether the values are numbers, so that a range of them makes sense."""
        return self.kind in ("int", "float")

    def problem(self, value: object) -> str | None:
        """Returns what is wrong with a value and what would be right, or None where it is legal."""
        if self.is_numeric:
            return self._number_problem(value)
        if self.kind == "bool":
            return None if isinstance(value, bool) else f"{value!r} is not true or false"
        if not isinstance(value, str):
            return f"{value!r} is not text"
        return self._choice_problem(value) if self.kind == "choice" else None

    def _number_problem(self, value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"{value!r} is not a number"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value!r} is not finite"
        if self.kind == "int" and not isinstance(value, int):
            return f"{value!r} is not a whole number"
        return None if value in self.interval else f"{value!r} is out of range (allowed: {self.interval})"

    def _choice_problem(self, value: str) -> str | None:
        if value in self.choices:
            return None
        if not self.is_case_sensitive and value.lower() in (choice.lower() for choice in self.choices):
            return None
        return one_of(value, self.choices)


N_STAGES = 4
"""The stages of a network that have hyperparameters of their own; the last stands for all that follow it, too."""

OPERATORS = (
    "shift_q",
    "shift_ps",
    "dense_shift",
    "s3",
    "two_term",
    "fixed_shift",
    "adder",
    "adder_annealed",
    "winograd_adder",
    "min_conv",
    "shift_add",
    "fixed_shift_add",
    "spatial_shift",
    "shift_conv",
    "pdp",
    "conv",
)
"""The names of ``dsnn_hpo.operators.OPERATORS``, which the search side cannot import."""

_OPTIMIZERS = ("SGD", "Adam", "Adadelta", "Adagrad", "RMSprop", "RAdam", "Ranger")


def stage_hyperparameter(stage: int, what: Literal["operator", "weight_bits"]) -> str:
    """Returns the name of a hyperparameter of one stage, counted from 1."""
    return f"stage{stage}_{what}"


def _of_stages() -> Iterator[Hyperparameter]:
    for stage in range(1, N_STAGES + 1):
        which = f"stage {stage}" if stage < N_STAGES else f"stage {stage} and those after it"
        yield Hyperparameter(
            stage_hyperparameter(stage, "operator"),
            "choice",
            "conv",
            f"what the layers of {which} become; stages are runs of layers of one resolution",
            choices=OPERATORS,
        )
        yield Hyperparameter(
            stage_hyperparameter(stage, "weight_bits"),
            "int",
            5,
            f"bits of a shift weight in {which}, where they differ from weight_bits",
            interval=Interval(2, 8),
        )


_KEEP_OR_CONVERT = ("keep", "convert")

HYPERPARAMETERS: Mapping[str, Hyperparameter] = MappingProxyType(
    {
        h.name: h
        for h in (
            Hyperparameter(
                "optimizer",
                "choice",
                "Adam",
                "the method of gradient descent; upper and lower case are the same",
                choices=_OPTIMIZERS,
                is_case_sensitive=False,
            ),
            Hyperparameter(
                "lr",
                "float",
                1e-3,
                "the learning rate at the start",
                interval=Interval(0.0, 10.0, is_lower_open=True),
            ),
            Hyperparameter(
                "momentum",
                "float",
                0.9,
                "momentum of SGD and RMSprop; beta1 of Adam, RAdam and Ranger; no effect on the others",
                interval=Interval(0.0, 1.0, is_upper_open=True),
            ),
            Hyperparameter("weight_decay", "float", 1e-4, "L2 penalty on weights", interval=Interval(0.0, 1.0)),
            Hyperparameter("batch_size", "int", 64, "samples a step of training", interval=Interval(1, 65536)),
            Hyperparameter(
                "test_batch_size",
                "int",
                512,
                "samples a batch of validation and of energy measurement",
                interval=Interval(1, 65536),
            ),
            Hyperparameter(
                "epochs",
                "int",
                1_000_000,
                "the configuration's own cap on its epochs: a rung trains the smaller of the two",
                interval=Interval(1, 1_000_000),
            ),
            Hyperparameter(
                "schedule",
                "choice",
                "cosine",
                "the learning rate over the maximal fidelity",
                choices=("constant", "cosine"),
            ),
            Hyperparameter(
                "weight_bits", "int", 5, "bits of a shift weight, its sign included", interval=Interval(2, 8)
            ),
            Hyperparameter(
                "activation_integer_bits",
                "int",
                16,
                "bits of an activation before the binary point, its sign included",
                interval=Interval(1, 32),
            ),
            Hyperparameter(
                "activation_fraction_bits",
                "int",
                16,
                "bits of an activation after the binary point",
                interval=Interval(1, 32),
            ),
            Hyperparameter(
                "activation_rounding",
                "choice",
                "floor",
                "how activations are rounded to fixed point",
                choices=("floor", "nearest"),
            ),
            Hyperparameter(
                "shift_depth",
                "int",
                ALL_CONVOLUTIONS,
                "how many convolutions, counted from the output, become shift layers",
                interval=Interval(0, MAX_INT),
            ),
            Hyperparameter(
                "shift_type",
                "choice",
                "Q",
                "Q quantises weights to powers of two, PS trains shift and sign",
                choices=("Q", "PS"),
            ),
            Hyperparameter(
                "rounding",
                "choice",
                "deterministic",
                "how weights are rounded to powers of two while training",
                choices=("deterministic", "stochastic"),
            ),
            Hyperparameter(
                "operator",
                "choice",
                "conv",
                "what the network's layers become; conv leaves them as they are",
                choices=OPERATORS,
            ),
            *_of_stages(),
            Hyperparameter(
                "first_layer",
                "choice",
                "convert",
                "whether the network's first layer stays a float layer",
                choices=_KEEP_OR_CONVERT,
            ),
            Hyperparameter(
                "last_layer",
                "choice",
                "keep",
                "whether the network's last layer stays a float layer; where no operator is named it is converted",
                choices=_KEEP_OR_CONVERT,
            ),
        )
    }
)


def model_argument(name: str, default: object) -> Hyperparameter | None:
    """Returns the hyperparameter that a model's argument is, judged by its default; None where it cannot be searched."""
    meaning = "an argument of the model"
    if isinstance(default, bool):
        return Hyperparameter(name, "bool", default, meaning)
    if isinstance(default, int):
        return Hyperparameter(name, "int", default, meaning, interval=Interval(0, MAX_INT))
    if isinstance(default, float):
        return Hyperparameter(name, "float", default, meaning)
    return Hyperparameter(name, "text", default, meaning) if isinstance(default, str) else None
