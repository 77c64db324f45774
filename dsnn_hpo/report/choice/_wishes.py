"""What a user asks of a member of the front: limits, and a rule that chooses among those that keep them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dsnn_hpo.errors import InputError, one_of
from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import interval
from dsnn_hpo.report._words import label, readable
from dsnn_hpo.trial import OBJECTIVES, Result

ACCURACY = "accuracy"
_SHARES = (ACCURACY, "error")
_TOLERANCE = 1e-9

Sense = Literal["max", "min"]
Rule = Literal["limits", "knee", "weights"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on a validation figure, which may be reached; ``name`` is a figure's, or ``accuracy``: 1 - error."""

    name: str
    sense: Sense
    bound: float

    def value(self, member: Result) -> float | None:
        """Returns a member's figure, None if it has none."""
        return figure(member, self.name)

    def shortfall(self, member: Result) -> float:
        """Returns by how much a member misses the limit, in the figure's unit; 0 if it keeps it, infinite without figure."""
        value = self.value(member)
        if value is None:
            return math.inf
        by = value - self.bound if self.sense == "max" else self.bound - value
        # 1 - 0.07 is a little less than 0.93.
        return 0.0 if by <= _TOLERANCE * max(abs(value), abs(self.bound)) else by

    def is_doubtful(self, member: Result) -> bool:
        """Returns whether the limit lies within the figure's 95 % interval."""
        value, width = self.value(member), interval(member, figure_name(self.name))
        return value is not None and width is not None and abs(value - self.bound) < width

    def __str__(self) -> str:
        """Returns it as text, e.g. ``"accuracy ≥ 0.9"``."""
        return f"{named(self.name)} {'≤' if self.sense == 'max' else '≥'} {readable(self.bound)}"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks for.

    Attributes:
        limits: that the member keeps, all of them.
        rule: that chooses among those that do: the knee, the weights, or what follows from the limits alone.
        weights: of objectives, by name, for the rule ``weights``; others do not count.
    """

    limits: tuple[Limit, ...] = ()
    rule: Rule = "limits"
    weights: Mapping[str, float] = field(default_factory=dict)


def figure_name(name: str) -> str:
    """Returns the figure that a limit or weight is about: the error if that is the accuracy."""
    return "error" if name == ACCURACY else name


def figure(member: Result, name: str) -> float | None:
    """Returns a validation figure of a member, or its accuracy; None if it has none."""
    if name == ACCURACY:
        error = member.values.get("error")
        return None if error is None else 1.0 - error
    return member.values.get(name)


def named(name: str) -> str:
    """Returns a figure's name for people."""
    objective = OBJECTIVES.get(name)
    return name.replace("_", " ") if objective is None else label(objective).removesuffix(f" ({objective.unit})")


def wishes_of(
    history: History,
    *,
    maxima: Sequence[str] = (),
    minima: Sequence[str] = (),
    knee: bool = False,
    prefer: str | None = None,
) -> Wishes | None:
    """Returns what the options of the command line ask for, None if they ask for nothing.

    Args:
        history: whose objectives, and whose members' other figures, can be named.
        maxima: as ``NAME=VALUE``; ``90%`` is understood of accuracy and error.
        minima: likewise.
        knee: whether the knee is wanted.
        prefer: as ``NAME:WEIGHT,NAME:WEIGHT``, of objectives.

    Raises:
        InputError: a name is unknown or stands for several, or a number is none; says what would be valid.
    """
    if knee and prefer is not None:
        raise InputError("--knee and --prefer are two rules for one choice; give one of them")
    limits = [_limit(history, text, "max") for text in maxima] + [_limit(history, text, "min") for text in minima]
    _check_room(limits)
    if prefer is not None:
        return Wishes(tuple(limits), "weights", _weights(history, prefer))
    if not limits and not knee:
        return None
    return Wishes(tuple(limits), "knee" if knee else "limits")


def _limit(history: History, text: str, sense: Sense) -> Limit:
    option = f"--{sense} {text}"
    name, equals, number = (part.strip() for part in text.partition("="))
    if not (name and equals and number):
        raise InputError(f"{option}: a limit is NAME=VALUE, e.g. --{sense} {_example(history, sense)}")
    figures = sorted(
        {figure for member in history.front() for figure in member.values} | set(history.header.objectives)
    )
    found = _resolved(name, history.header.objectives, figures, option)
    is_percent = number.endswith("%") and found in _SHARES
    bound = _number(number.removesuffix("%") if is_percent else number, option)
    bound = bound / 100 if is_percent else bound
    if found in _SHARES and not 0 <= bound <= 1:
        raise InputError(f"{option}: {found} is a share, 0 to 1; write {bound / 100:g} or {bound:g}%")
    return Limit(found, sense, bound)


def _example(history: History, sense: Sense) -> str:
    name = history.header.objectives[-1]
    return "accuracy=0.9" if sense == "min" or name == "error" else f"{name}=0.8"


def _check_room(limits: Sequence[Limit]) -> None:
    for low in (limit for limit in limits if limit.sense == "min"):
        for high in (limit for limit in limits if limit.sense == "max" and limit.name == low.name):
            if high.bound < low.bound:
                raise InputError(f"no figure can have both {low} and {high}")


def _weights(history: History, text: str) -> dict[str, float]:
    option = f"--prefer {text}"
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        if not (name and colon and number):
            example = ",".join(f"{name}:1" for name in history.header.objectives)
            raise InputError(f"{option}: preferences are NAME:WEIGHT, separated by commas, e.g. --prefer {example}")
        found = figure_name(_resolved(name, history.header.objectives, (), option))
        if found in weights:
            raise InputError(f"{option}: {found} is given twice")
        weights[found] = _number(number, option)
        if weights[found] <= 0:
            raise InputError(f"{option}: a weight is above 0; leave {found} out if it does not count")
    return weights


def _number(text: str, option: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is no number") from None
    if not math.isfinite(number):
        raise InputError(f"{option}: {text!r} is not finite")
    return number


def _resolved(name: str, objectives: Sequence[str], others: Iterable[str], option: str) -> str:
    """Returns the figure that a name stands for: its own, or words of it that no other one of its kind has.

    Objectives come first: where one of them is an energy, ``energy`` is that one.
    """
    known = [*objectives, *(other for other in others if other not in objectives)]
    plain = name.lower().replace("-", "_")
    if plain in known or (plain == ACCURACY and "error" in known):
        return plain
    words = set(plain.split("_"))
    for names in (objectives, known):
        fitting = [known for known in names if words <= set(known.split("_"))]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise InputError(f"{option}: {name!r} may be any of {', '.join(fitting)}; write which")
    allowed = [*known, *([ACCURACY] if "error" in known else [])]
    raise InputError(f"{option}: no {'figure' if others else 'objective'} {one_of(name, allowed)}")
