"""Checking the conditions and forbidden clauses of a search-space file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal

from dsnn_hpo.errors import one_of
from dsnn_hpo.search_space._check import Item, Place, keys, mapping, sequence, short

_COMPARISON, _MEMBERSHIP = ("child", "parent", "value"), ("child", "parent", "values")
_NAMES = ("child", "parent", "name", "left", "right")
_CLAUSE, _RELATION = ("name", "value"), ("left", "right")

# The keys of every type of clause in ConfigSpace's format; AND and OR hold further clauses.
_KEYS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "conditions": {
            **dict.fromkeys(("EQ", "NEQ", "LT", "GT"), _COMPARISON),
            "IN": _MEMBERSHIP,
            **dict.fromkeys(("AND", "OR"), ("conditions",)),
        },
        "forbiddens": {
            **dict.fromkeys(("EQUALS", "CLAUSE_LT", "CLAUSE_LE", "CLAUSE_GT", "CLAUSE_GE"), _CLAUSE),
            "IN": ("name", "values"),
            **dict.fromkeys(("AND", "OR"), ("clauses",)),
            **dict.fromkeys([f"RELATION_{r}" for r in ("LT", "LE", "EQ", "GT", "GE")], _RELATION),
        },
    }
)


Kind = Literal["conditions", "forbiddens"]


def names_in(clause: object, kind: Kind, known: Collection[str], place: Place) -> set[str]:
    """Returns the hyperparameters that a clause names; raises SearchSpaceError where the clause is malformed."""
    item = mapping(clause, place)
    type_ = item.get("type")
    if not isinstance(type_, str) or type_ not in _KEYS[kind]:
        place.fail(f"unknown type {one_of(type_, _KEYS[kind])}")
    required = _KEYS[kind][type_]
    # ConfigSpace writes the child of a conjunction beside its parts.
    optional = ("child",) if required == ("conditions",) else ()
    keys(item, ("type", *required), optional, place)
    named = {_known_name(item, key, known, place) for key in item if key in _NAMES}
    if "values" in item and not sequence(item["values"], place):
        place.fail("values is empty")
    for parts in ("conditions", "clauses"):
        if parts in required:
            named |= _names_in_parts(item, parts, kind, known, place)
    return named


def without(clause: Item, kept: Collection[str]) -> Item | None:
    """Returns what is left of a clause without the hyperparameters that are not kept, None where nothing is.

    A part of an OR that names another never holds, so it goes alone; any other clause goes as a whole.
    """
    parts = next((key for key in ("conditions", "clauses") if key in clause), None)
    if parts is None:
        return clause if {clause[key] for key in clause if key in _NAMES} <= set(kept) else None
    left = [without(part, kept) for part in clause[parts]]
    remaining = [part for part in left if part is not None]
    if len(remaining) == len(left):
        return {**clause, parts: remaining}
    if clause["type"] == "AND" or not remaining:
        return None
    return {**clause, parts: remaining} if len(remaining) > 1 else remaining[0]


def children(condition: Item) -> set[str]:
    """Returns the hyperparameters that a condition activates."""
    own = {condition["child"]} if "child" in condition else set()
    return own.union(*(children(part) for part in condition.get("conditions", [])))


def _names_in_parts(item: Item, parts: str, kind: Kind, known: Collection[str], place: Place) -> set[str]:
    clauses = sequence(item[parts], place)
    if len(clauses) < 2:
        place.fail(f"{item['type']} joins at least two {parts}")
    return set().union(*(names_in(clause, kind, known, place) for clause in clauses))


def _known_name(item: Item, key: str, known: Collection[str], place: Place) -> str:
    name = item[key]
    if not isinstance(name, str):
        place.fail(f"{key} must be the name of a hyperparameter, not {short(name)}")
    if name not in known:
        place.fail(f"{key}: no hyperparameter {one_of(name, known)} in this space")
    return name
