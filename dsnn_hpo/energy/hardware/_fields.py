"""Taking a YAML file apart, with errors that say where in the file something is wrong and what would be right."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dsnn_hpo.errors import InputError, one_of

COUNTED_OPERATORS = (
    "conv", "linear", "shift_q", "shift_ps", "dense_shift", "s3", "two_term", "fixed_shift", "adder", "winograd_adder",
    "min_conv", "spatial_shift", "batch_norm", "fixed_point", "add", "subtract", "multiply", "negate", "absolute",
    "maximum", "minimum", "relu", "clamp", "max_pool", "mean_pool", "mean", "sum", "concatenate", "pad", "shuffle",
    "upsample",
)  # fmt: skip
"""The names that ``LayerCounts.operator`` has."""


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of the file, and its place in it: "FILE: operations.int"."""

    values: dict[Any, Any]
    file: str
    path: str = ""

    @staticmethod
    def of(content: object, file: str, path: str = "") -> Section:
        """Returns the section with that content; raises InputError if it is no mapping with something in it."""
        if not isinstance(content, dict) or not content:
            where = f"{file}: {path}" if path else file
            raise InputError(f"{where}: must be a mapping of keys to values, not {content!r}")
        return Section(content, file, path)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def listed(self) -> list[Any]:
        """Returns the keys, in the file's order."""
        return list(self.values)

    def get(self, key: str) -> Any:
        """Returns the value as it is, None where there is none."""
        return self.values.get(key)

    def section(self, key: Any) -> Section:
        """Returns the mapping under a key."""
        return Section.of(self.values[key], self.file, self._place(key))

    def require_keys(self, *required: str, optional: Collection[str] = ()) -> None:
        """Raises InputError for a key that is missing, or that there is none of that name."""
        self.require_known([*required, *optional], "key")
        for key in required:
            if key not in self.values:
                raise self._error("", f"`{key}` is missing; it takes {', '.join(required)}")

    def require_known(self, allowed: Collection[str], what: str) -> None:
        """Raises InputError for a key that is not among those allowed."""
        for key in self.values:
            if key not in allowed:
                raise self._error(key, f"no {what} {one_of(key, allowed)}")

    def text(self, key: str) -> str:
        """Returns a text that is not empty."""
        value = self.values[key]
        if not isinstance(value, str) or not value.strip():
            raise self._error(key, f"must be text, not {value!r}")
        return value.strip()

    def flag(self, key: str) -> bool:
        """Returns true or false."""
        value = self.values[key]
        if not isinstance(value, bool):
            raise self._error(key, f"must be true or false, not {value!r}")
        return value

    def whole(self, key: str, lowest: int, highest: int | None = None) -> int:
        """Returns a whole number."""
        value = self.values[key]
        if type(value) is not int or value < lowest or (highest is not None and value > highest):
            until = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"
            raise self._error(key, f"must be a whole number {until}, not {value!r}")
        return value

    def cost(self, key: str) -> float:
        """Returns a number of picojoules."""
        value = self.values[key]
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
            raise self._error(key, f"must be a number of picojoules, 0 or more, not {value!r}")
        return float(value)

    def choice(self, key: str, allowed: Collection[str], what: str) -> str:
        """Returns one of the names that are allowed."""
        value = self.values[key]
        if not isinstance(value, str) or value not in allowed:
            raise self._error(key, f"no {what} {one_of(value, allowed)}")
        return value

    def names(self, key: str, allowed: Collection[str], what: str) -> tuple[str, ...]:
        """Returns a list of names that are allowed."""
        value = self.values[key]
        if not isinstance(value, list):
            raise self._error(key, f"must be a list such as [{next(iter(allowed))}], not {value!r}")
        for name in value:
            if not isinstance(name, str) or name not in allowed:
                raise self._error(key, f"no {what} {one_of(name, allowed)}")
        return tuple(value)

    def widths(self, most: int) -> list[int]:
        """Returns the keys as numbers of bits."""
        for key in self.values:
            if type(key) is not int or not 1 <= key <= most:
                raise self._error(key, f"a width must be a whole number of bits from 1 to {most}, not {key!r}")
        return list(self.values)

    def _place(self, key: Any) -> str:
        return f"{self.path}.{key}" if self.path else str(key)

    def _error(self, key: Any, message: str) -> InputError:
        place = self._place(key) if key != "" else self.path
        return InputError(f"{self.file}: {place}: {message}" if place else f"{self.file}: {message}")
