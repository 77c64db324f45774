"""Checking the parts of a search-space file one by one, so that an error can name the part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from dsnn_hpo.errors import SearchSpaceError, one_of
from dsnn_hpo.search_space._hyperparameters import Hyperparameter

Item = dict[str, Any]

FILE_KEYS = ("name", "hyperparameters", "conditions", "forbiddens", "format_version", "python_module_version")
META_KEYS = ("optional", "upper")

# Required keys of each type; the optional ones follow.
_TYPES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "uniform_float": (("lower", "upper"), ("default_value", "log")),
        "uniform_int": (("lower", "upper"), ("default_value", "log")),
        "normal_float": (("lower", "upper", "mu", "sigma"), ("default_value", "log")),
        "normal_int": (("lower", "upper", "mu", "sigma"), ("default_value", "log")),
        "beta_float": (("lower", "upper", "alpha", "beta"), ("default_value", "log")),
        "beta_int": (("lower", "upper", "alpha", "beta"), ("default_value", "log")),
        "categorical": (("choices",), ("default_value", "weights")),
        "ordinal": (("sequence",), ("default_value",)),
        "constant": (("value",), ()),
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file something stands, for the message of an error."""

    file: Path
    part: str

    def fail(self, message: str) -> NoReturn:
        """Raises SearchSpaceError with file, part and message."""
        raise SearchSpaceError(f"{self.file}: {self.part}: {message}")


def mapping(value: object, place: Place) -> Item:
    """Returns the value if it is a mapping; raises SearchSpaceError otherwise."""
    if not isinstance(value, dict):
        place.fail(f"expected keys and values, got {short(value)}")
    return value


def sequence(value: object, place: Place) -> list[Any]:
    """Returns the value if it is a list, an empty list for None; raises SearchSpaceError otherwise."""
    if value is None:
        return []
    if not isinstance(value, list):
        place.fail(f"expected a list, got {short(value)}")
    return value


def keys(item: Item, required: Sequence[str], optional: Sequence[str], place: Place) -> None:
    """Raises SearchSpaceError if a key is missing or unknown."""
    for key in item:
        if key not in required and key not in optional:
            place.fail(f"unknown key {one_of(key, (*required, *optional))}")
    for key in required:
        if key not in item:
            place.fail(f"key {key!r} is missing")


def hyperparameter(item: Item, known: Hyperparameter, place: Place) -> None:
    """Raises SearchSpaceError if the item does not describe legal values of a known hyperparameter."""
    type_ = item.get("type")
    if not isinstance(type_, str) or type_ not in _TYPES:
        place.fail(f"unknown type {one_of(type_, _TYPES)}")
    required, optional = _TYPES[type_]
    keys(item, ("name", "type", *required), (*optional, "meta"), place)
    _meta(item.get("meta"), place)
    if is_range(item):
        _range(item, known, place)
        _shape(item, place)
    elif type_ == "constant":
        _legal(item["value"], known, "value", place)
    else:
        _choices(item, known, place)


def _meta(meta: object, place: Place) -> None:
    if meta is None:
        return
    keys(mapping(meta, place), (), META_KEYS, place)
    assert isinstance(meta, dict)
    if not isinstance(meta.get("optional", False), bool):
        place.fail(f"meta: optional must be true or false, not {meta['optional']!r}")
    if meta.get("upper", "n_convolutions") != "n_convolutions":
        place.fail(f"meta: upper must be {one_of(meta['upper'], ['n_convolutions'])}")


def is_range(item: Item) -> bool:
    """Returns whether an item describes numbers between two bounds, uniform or not."""
    return bool(item["type"].endswith(("_float", "_int")))


def is_range_of_integers(item: Item) -> bool:
    """Returns whether these are whole numbers."""
    return bool(item["type"].endswith("_int"))


def _shape(item: Item, place: Place) -> None:
    """Raises SearchSpaceError if the parameters of a normal or beta distribution are none."""
    lower, upper = item["lower"], item["upper"]
    for key in ("mu", "sigma", "alpha", "beta"):
        value = item.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            place.fail(f"{key} must be a number, not {short(value)}")
    if "mu" in item and not lower <= item["mu"] <= upper:
        place.fail(f"mu {item['mu']!r} is not between lower {lower!r} and upper {upper!r}")
    # So ConfigSpace takes the deviation of logarithms.
    if "sigma" in item and item.get("log") and item["sigma"] > 0 and (factor := lower + item["sigma"]) <= 1:
        place.fail(f"on a log scale one deviation is a factor of lower + sigma, which must be above 1, not {factor:g}")
    if "sigma" in item and item["sigma"] <= 0:
        place.fail(f"sigma must be above 0, not {item['sigma']!r}")
    for key in ("alpha", "beta"):
        if item.get(key, 1) < 1:
            place.fail(f"{key} must be 1 or more, not {item[key]!r}")


def _range(item: Item, known: Hyperparameter, place: Place) -> None:
    distribution, _, kind = item["type"].rpartition("_")
    if not known.is_numeric:
        allowed = ", ".join(known.choices) or known.kind
        place.fail(f"is not a number, so it has no range; use type categorical (allowed: {allowed})")
    if known.kind == "int" and kind == "float":
        place.fail(f"takes whole numbers; use type {distribution}_int")
    for bound in ("lower", "upper"):
        _legal(item[bound], known, bound, place)
        if kind == "int" and not isinstance(item[bound], int):
            place.fail(f"{bound} {item[bound]!r} is not a whole number, as type {item['type']} wants it")
    lower, upper, default = item["lower"], item["upper"], item.get("default_value")
    if lower == upper:
        place.fail(f"lower and upper are both {lower!r}; use type constant")
    if lower > upper:
        place.fail(f"lower {lower!r} is above upper {upper!r}")
    if not isinstance(item.get("log", False), bool):
        place.fail(f"log must be true or false, not {item['log']!r}")
    if item.get("log") and lower <= 0:
        place.fail(f"a log scale needs a lower bound above 0, not {lower!r}")
    if default is not None:
        _legal(default, known, "default_value", place)
        if not lower <= default <= upper:
            place.fail(f"default_value {default!r} is not between lower {lower!r} and upper {upper!r}")


def _choices(item: Item, known: Hyperparameter, place: Place) -> None:
    key = "choices" if item["type"] == "categorical" else "sequence"
    choices = sequence(item[key], place)
    if not choices:
        place.fail(f"{key} is empty")
    for choice in choices:
        _legal(choice, known, key, place)
    repeated = next((c for c in choices if choices.count(c) > 1), None)
    if repeated is not None:
        place.fail(f"{key} names {repeated!r} more than once")
    default = item.get("default_value")
    if default is not None and default not in choices:
        place.fail(f"default_value {one_of(default, map(str, choices))}")
    if item.get("weights") is not None:
        _weights(sequence(item["weights"], place), len(choices), place)


def _weights(weights: list[Any], n_choices: int, place: Place) -> None:
    for weight in weights:
        is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not (is_number and 0 <= weight < math.inf):
            place.fail(f"weights must be numbers of at least 0, not {short(weight)}")
    if len(weights) != n_choices or not any(weights):
        place.fail(f"weights must be {n_choices} numbers, one for each choice, not all 0")


def _legal(value: object, known: Hyperparameter, key: str, place: Place) -> None:
    problem = known.problem(value)
    if problem:
        place.fail(f"{key}: {problem}")


def short(value: object) -> str:
    """Returns the value as text of at most 60 characters, for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
