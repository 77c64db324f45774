"""From a search-space file to a ConfigSpace, checked against the model it is for."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from ConfigSpace import Configuration, ConfigurationSpace

from dsnn_hpo.errors import SearchSpaceError, one_of
from dsnn_hpo.search_space._check import (
    FILE_KEYS,
    Item,
    Place,
    hyperparameter,
    is_range_of_integers,
    keys,
    mapping,
    sequence,
)
from dsnn_hpo.search_space._clauses import Kind, children, names_in, without
from dsnn_hpo.search_space._configspace import mend
from dsnn_hpo.search_space._hyperparameters import HYPERPARAMETERS, Hyperparameter, model_argument
from dsnn_hpo.search_space._model_bound import (
    Counts,
    ModelFacts,
    bound_shift_depth,
    count_convolutions,
    forbidden_clauses,
)
from dsnn_hpo.search_space._safe_yaml import read_yaml
from dsnn_hpo.search_space._stage_bound import bound_by_stages_, refuse_two_choices
from dsnn_hpo.trial import Scalar

mend()

_KINDS: tuple[Kind, ...] = ("conditions", "forbiddens")


def load_search_space(
    file: Path, model: ModelFacts, seed: int, fixed: Mapping[str, Scalar] = MappingProxyType({})
) -> ConfigurationSpace:
    """Returns the space that a file in ConfigSpace's YAML describes, fitted to a model and seeded.

    Hyperparameters that are ``fixed``, see ``check_fixed``, join it as constants; none of them may be in the file.

    Hyperparameters with ``meta: {optional: true}`` are dropped, with the clauses that name them, where the model does
    not offer them; ``meta: {upper: n_convolutions}`` bounds ``shift_depth`` by the model. No configuration of the
    result asks for more shift layers than its network has convolutions, or for a stage that it has not. Every fault of
    the file raises SearchSpaceError.
    """
    whole = Place(file, "search space")
    content = mapping(read_yaml(file, SearchSpaceError), whole)
    keys(content, ("hyperparameters",), FILE_KEYS, whole)
    items = _with_constants(_items(content, model, file), fixed, file)
    kept = {name: item for name, item in items.items() if name in _known(model)}
    refuse_two_choices(kept, file)
    counts = _bound_by_model_(kept, model, file)
    of_stages = bound_by_stages_(kept, model, file)
    if not kept:
        whole.fail(f"no hyperparameters that model {model.name} has")
    description: Item = {"name": content.get("name"), "hyperparameters": list(kept.values())}
    for kind in _KINDS:
        description[kind] = _clauses(content, kind, items, kept, file)
    _refuse_conditional([c["parent"] for c in of_stages], description["conditions"], Place(file, "stages"))
    for condition in of_stages:
        _join_(description["conditions"], condition)
    if counts and "shift_depth" in kept:
        place = Place(file, "hyperparameter shift_depth")
        _refuse_conditional(counts.arguments, description["conditions"], place)
        description["forbiddens"] += forbidden_clauses(kept["shift_depth"], counts)
    space = _build(description, file)
    space.seed(seed)
    return space


def check_fixed(fixed: Mapping[str, Scalar], model: ModelFacts) -> None:
    """Raises SearchSpaceError, for the first of them, where hyperparameters or their values are not legal."""
    known = _known(model)
    for name, value in fixed.items():
        if name not in known:
            raise SearchSpaceError(f"unknown hyperparameter {one_of(name, known)} for model {model.name}")
        if problem := known[name].problem(value):
            raise SearchSpaceError(f"{name}: {problem}")


def plain(configuration: Configuration) -> dict[str, Scalar]:
    """Returns the active hyperparameters of a configuration as plain Python values, in the space's order."""
    active = dict(configuration)
    return {name: _plain_value(active[name]) for name in configuration.config_space if name in active}


def _plain_value(value: object) -> Scalar:
    scalar = value.item() if isinstance(value, np.generic) else value
    if not isinstance(scalar, bool | int | float | str):
        raise SearchSpaceError(f"{value!r} is no value of a hyperparameter: numbers, truth values and text are")
    return scalar


def _items(content: Item, model: ModelFacts, file: Path) -> dict[str, Item]:
    items: dict[str, Item] = {}
    place = Place(file, "hyperparameters")
    for number, entry in enumerate(sequence(content["hyperparameters"], place), start=1):
        item = mapping(entry, Place(file, f"hyperparameter {number}"))
        name = item.get("name")
        if not isinstance(name, str):
            Place(file, f"hyperparameter {number}").fail(f"needs a name, which is text, not {name!r}")
        if name in items:
            Place(file, f"hyperparameter {name}").fail("is described twice")
        items[name] = item
    if not items:
        place.fail("the space is empty: describe at least one hyperparameter")
    known = _known(model)
    for name, item in items.items():
        if name in known:
            hyperparameter(item, known[name], Place(file, f"hyperparameter {name}"))
        elif not _is_optional(item):
            place.fail(f"unknown hyperparameter {one_of(name, known)} for model {model.name}")
    return items


def _with_constants(items: dict[str, Item], fixed: Mapping[str, Scalar], file: Path) -> dict[str, Item]:
    for name, value in fixed.items():
        if name in items:
            Place(file, f"hyperparameter {name}").fail(f"is fixed to {value!r} by the experiment; remove one of them")
    return {**items, **{name: {"name": name, "type": "constant", "value": value} for name, value in fixed.items()}}


def _known(model: ModelFacts) -> Mapping[str, Hyperparameter]:
    arguments = {name: model_argument(name, default) for name, default in model.arguments.items()}
    return {**{name: argument for name, argument in arguments.items() if argument}, **HYPERPARAMETERS}


def _is_optional(item: Item) -> bool:
    meta = item.get("meta")
    return isinstance(meta, dict) and meta.get("optional") is True


def _bound_by_model_(kept: dict[str, Item], model: ModelFacts, file: Path) -> Counts | None:
    """Returns the convolutions of the space's networks; bounds or drops ``shift_depth`` in place."""
    if "shift_depth" not in kept:
        return None
    place = Place(file, "hyperparameter shift_depth")
    counts = count_convolutions(kept, model, place)
    bounded = bound_shift_depth(kept.pop("shift_depth"), counts, model, place)
    if bounded is not None:
        kept["shift_depth"] = {**bounded, **_default_depth(bounded, kept, counts)}
    return counts


def _default_depth(item: Item, kept: Mapping[str, Item], counts: Counts) -> Item:
    # The default configuration must be legal: its shift depth fits the network of its own default arguments, which
    # only ConfigSpace knows where the file names none.
    if not is_range_of_integers(item):
        return {}
    arguments = [copy.deepcopy(kept[name]) for name in counts.arguments]
    default = ConfigurationSpace.from_serialized_dict({"hyperparameters": arguments}).get_default_configuration()
    values = plain(default)
    n_convolutions = counts.by_values[tuple(values[name] for name in counts.arguments)]
    wanted = item.get("default_value")
    return {"default_value": min(item["upper"] if wanted is None else wanted, n_convolutions)}


def _clauses(content: Item, kind: Kind, items: Mapping[str, Item], kept: Mapping[str, Item], file: Path) -> list[Item]:
    clauses: list[Item] = []
    for number, clause in enumerate(sequence(content.get(kind), Place(file, kind)), start=1):
        names_in(clause, kind, items, Place(file, f"{kind}, entry {number}"))
        left = without(clause, kept)
        if left is not None:
            clauses.append(left)
    return clauses


def _join_(conditions: list[Item], condition: Item) -> None:
    # ConfigSpace takes one condition of a hyperparameter, which may have parts.
    for number, other in enumerate(conditions):
        if condition["child"] in children(other):
            conditions[number] = {"type": "AND", "child": condition["child"], "conditions": [other, condition]}
            return
    conditions.append(condition)


def _refuse_conditional(arguments: Iterable[str], conditions: list[Item], place: Place) -> None:
    conditional = set().union(*(children(condition) for condition in conditions))
    for name in arguments:
        if name in conditional:
            place.fail(f"its bound depends on {name}, which therefore cannot be conditional")


def _build(description: Item, file: Path) -> ConfigurationSpace:
    clauses = [("conditions", clause) for clause in description["conditions"]]
    clauses += [("forbiddens", clause) for clause in description["forbiddens"]]
    grown: Item = {**description, "conditions": [], "forbiddens": []}
    space = _decode(grown, Place(file, "hyperparameters"))
    # Growing the space clause by clause lets the message of an error name the clause.
    for kind, clause in clauses:
        grown[kind] = [*grown[kind], clause]
        space = _decode(grown, Place(file, f"{kind}, entry {len(grown[kind])}"))
    return space


def _decode(description: Item, place: Place) -> ConfigurationSpace:
    try:
        # ConfigSpace takes its input apart, hence the copy; the default configuration is its own check of legality.
        space = ConfigurationSpace.from_serialized_dict(copy.deepcopy(description))
        space.get_default_configuration()
    except Exception as problem:  # any of ConfigSpace's own errors: what it refuses, the user wrote
        raise SearchSpaceError(f"{place.file}: {place.part}: {type(problem).__name__}: {problem}") from problem
    return space
