"""Bounding ``shift_depth`` by the number of convolutions that the model really has; counting over a space's networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dsnn_hpo.search_space._check import Item, Place, is_range, is_range_of_integers
from dsnn_hpo.trial import Scalar

BOUND = "n_convolutions"
MAX_NETWORKS = 1000


Count = Callable[[Mapping[str, Scalar]], int]
"""Returns a number that the network built with the given arguments has."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the search space must know of a model.

    Attributes:
        name: of the model, for messages.
        arguments: its searchable constructor arguments and their defaults.
        n_convolutions: number of convolutions of the network built with the given arguments (others at default).
        n_stages: its number of stages, runs of layers of one resolution.
    """

    name: str
    arguments: Mapping[str, object]
    n_convolutions: Count
    n_stages: Count


@dataclass(frozen=True, slots=True)
class Counts:
    """A number that each network in a space has, by the arguments of the model that it depends on."""

    arguments: tuple[str, ...]
    by_values: Mapping[tuple[Scalar, ...], int]

    @property
    def largest(self) -> int:
        """Returns the number of the network that has most."""
        return max(self.by_values.values())

    @property
    def smallest(self) -> int:
        """Returns the number of the network that has fewest."""
        return min(self.by_values.values())


def count_convolutions(items: Mapping[str, Item], model: ModelFacts, place: Place) -> Counts:
    """Returns the convolutions of all networks in the space; see ``count_over_networks``."""
    return count_over_networks(items, model, model.n_convolutions, "convolutions", place)


def count_over_networks(items: Mapping[str, Item], model: ModelFacts, count: Count, what: str, place: Place) -> Counts:
    """Returns a number of all networks in the space; raises SearchSpaceError where they are too many to count.

    Args:
        items: the space's hyperparameters by name, in ConfigSpace's format.
        model: whose networks are counted over.
        count: the number of one network.
        what: is counted, in the plural, for the message of an error.
        place: for the message of an error.
    """
    values = {name: _values(items[name]) for name in items if name in model.arguments}
    values = {name: choices for name, choices in values.items() if choices}
    relevant = tuple(name for name in values if _matters(name, values, count))
    n_networks = 1
    for name in relevant:
        n_networks *= len(values[name])
    if n_networks > MAX_NETWORKS:
        place.fail(
            f"the number of {what} of {model.name} depends on {', '.join(relevant)}, which span {n_networks} "
            f"networks; narrow them to at most {MAX_NETWORKS}"
        )
    rest = {name: choices[0] for name, choices in values.items()}
    combinations = itertools.product(*(values[name] for name in relevant))
    counts = {
        combination: count({**rest, **dict(zip(relevant, combination, strict=True))}) for combination in combinations
    }
    return Counts(relevant, counts)


def _values(item: Item) -> Sequence[Scalar]:
    if is_range_of_integers(item):
        return range(item["lower"], item["upper"] + 1)
    if is_range(item):
        return []
    return list(item.get("choices") or item.get("sequence") or [item["value"]])


def _matters(name: str, values: Mapping[str, Sequence[Scalar]], count: Count) -> bool:
    # Building networks takes time: a range is judged by its ends and middle, with the other arguments at their
    # first and at their last value.
    own = values[name]
    probes = own if len(own) <= 8 else [own[0], own[len(own) // 2], own[-1]]
    for end in (0, -1):
        rest = {other: choices[end] for other, choices in values.items()}
        if len({count({**rest, name: probe}) for probe in probes}) > 1:
            return True
    return False


def bound_shift_depth(item: Item, counts: Counts, model: ModelFacts, place: Place) -> Item | None:
    """Returns the item for ``shift_depth`` within the model's convolutions, None where it has none and that is allowed.

    With ``meta: {upper: n_convolutions}`` a range is narrowed; without, a value that no network of the space can
    take raises SearchSpaceError.
    """
    is_bound_by_model = (item.get("meta") or {}).get("upper") == BOUND
    if counts.largest == 0 and is_bound_by_model:
        return None
    if is_range_of_integers(item):
        return _bounded_range(item, counts, model, place) if is_bound_by_model else _checked(item, counts, model, place)
    if is_bound_by_model:
        place.fail(f"meta: upper: {BOUND} needs a range of whole numbers such as uniform_int, not {item['type']}")
    most = max(int(value) for value in _values(item))
    if most > counts.smallest:
        place.fail(f"{most} is above {counts.smallest}, {_what(model, counts, 'fewest')}")
    return item


def _bounded_range(item: Item, counts: Counts, model: ModelFacts, place: Place) -> Item:
    lower, upper = item["lower"], min(item["upper"], counts.largest)
    if lower > counts.smallest:
        place.fail(f"lower {lower} is above {counts.smallest}, {_what(model, counts, 'fewest')}")
    meta = item.get("meta")
    if lower == upper:
        return {"name": item["name"], "type": "constant", "value": lower, "meta": meta}
    return {**item, "upper": upper}


def _checked(item: Item, counts: Counts, model: ModelFacts, place: Place) -> Item:
    if item["upper"] > counts.largest:
        place.fail(
            f"upper {item['upper']} is above {counts.largest}, {_what(model, counts, 'most')}; "
            f"give at most {counts.largest}, or add meta: {{upper: {BOUND}}}"
        )
    if item["lower"] > counts.smallest:
        place.fail(f"lower {item['lower']} is above {counts.smallest}, {_what(model, counts, 'fewest')}")
    return item


def _what(model: ModelFacts, counts: Counts, which: str) -> str:
    if not counts.arguments:
        return f"the number of convolutions of {model.name}"
    return f"the {which} convolutions that {model.name} has in this space (by {', '.join(counts.arguments)})"


def forbidden_clauses(item: Item, counts: Counts) -> list[Item]:
    """Returns clauses, in ConfigSpace's format, against a ``shift_depth`` above its own network's convolutions."""
    if not is_range_of_integers(item):
        return []
    clauses: list[Item] = []
    for combination, n_convolutions in counts.by_values.items():
        if n_convolutions < item["upper"]:
            equals = [
                {"type": "EQUALS", "name": name, "value": value}
                for name, value in zip(counts.arguments, combination, strict=True)
            ]
            above = {"type": "CLAUSE_GT", "name": item["name"], "value": n_convolutions}
            clauses.append({"type": "AND", "clauses": [*equals, above]})
    return clauses
