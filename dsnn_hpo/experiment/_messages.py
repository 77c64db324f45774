"""What was wrong with an experiment file, said so that it can be mended: file, line, key path, value, what is allowed."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from dsnn_hpo.errors import one_of

MAX_SHOWN = 8
MAX_VALUE_CHARACTERS = 80

Location = tuple[int | str, ...]

# Pydantic's own words for these speak of Python, not of the file.
_MESSAGES = {
    "model_type": "expected keys with values",
    "model_attributes_type": "expected keys with values",
    "dict_type": "expected keys with values",
    "too_short": "at least {min_length} is needed",
    "too_long": "at most {max_length} are allowed",
    "tuple_type": "expected a list",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "string_type": "expected text",
    "string_pattern_mismatch": "must match {pattern}",
    "union_tag_not_found": "the key {discriminator} is missing",
}


def explain(error: ValidationError, data: Mapping[str, Any], model: type[BaseModel], source: Path | None) -> str:
    """Returns one line for each fault, at most eight, in the order of the file.

    Args:
        error: what pydantic found.
        data: the mapping that was validated.
        model: the model that it was validated against.
        source: the file it came from, or None when it was made in Python.
    """
    lines = line_numbers(source) if source else {}
    faults: dict[tuple[int, str], str] = {}
    for detail in error.errors(include_url=False):
        path = _path_in_data(detail["loc"], data)
        line = lines.get(path) or lines.get(path[:-1])
        place = f"{source}:{line}" if source and line else f"{source or 'experiment'}"
        key = ".".join(str(part) for part in path) or "the experiment"
        faults.setdefault((line or 0, key), f"{place}: {key}: {_fault(detail, path, model)}")
    shown = [faults[where] for where in sorted(faults)[:MAX_SHOWN]]
    if len(faults) > MAX_SHOWN:
        shown.append(f"... and {len(faults) - MAX_SHOWN} more")
    return "\n".join(shown)


def _fault(detail: Any, path: Location, model: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key {one_of(str(path[-1]), _keys_at(model, path[:-1], detail['loc']))}"
    if kind == "missing":
        return "missing; this key is needed"
    if "model_arguments" in path:
        return f"expected a number, text, true or false (got {_shown(detail['input'])})"
    if kind in ("literal_error", "union_tag_invalid"):
        allowed = str(context.get("expected") or context.get("expected_tags")).replace(" or ", ", ")
        value = detail["input"] if kind == "literal_error" else context["tag"]
        return f"wrong value {one_of(value, [word.strip(chr(39) + ' ') for word in allowed.split(',')])}"
    message = _MESSAGES[kind].format(**context) if kind in _MESSAGES else detail["msg"].removeprefix("Value error, ")
    shown = _shown(detail["input"])
    got = "" if shown in message else f" (got {shown})"
    return f"{message[0].lower()}{message[1:]}{got}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}..."


def _path_in_data(location: Location, data: Any) -> Location:
    """Returns the part of pydantic's location that exists in the data; it adds names of union members of its own."""
    path: list[int | str] = []
    for position, part in enumerate(location):
        is_key = isinstance(data, Mapping) and (part in data or position == len(location) - 1)
        if is_key:
            path.append(part)
            data = data.get(part)
        elif isinstance(data, Sequence) and not isinstance(data, str) and isinstance(part, int):
            path.append(part)
            data = data[part] if part < len(data) else None
    return tuple(path)


def _keys_at(model: type[BaseModel], path: Location, location: Location) -> list[str]:
    """Returns the keys that are allowed below a path: of the member of a union that pydantic's location names, or of all."""
    annotations: list[Any] = [model]
    for part in path:
        annotations = [below for annotation in annotations for below in _below(annotation, part)]
    models = [m for annotation in annotations for m in _members(annotation) if _is_model(m)]
    named = [m for m in models if "name" in m.model_fields and m.model_fields["name"].default in location]
    models = named or models
    return sorted({name for m in models for name in m.model_fields})


def _below(annotation: Any, key: int | str) -> list[Any]:
    """Returns the annotations of what a key holds."""
    found: list[Any] = []
    for member in _members(annotation):
        if _is_model(member) and key in member.model_fields:
            found.append(member.model_fields[str(key)].annotation)
        elif get_origin(member) in (dict, tuple, list):
            found.extend(get_args(member)[1:] if get_origin(member) is dict else get_args(member)[:1])
    return found


def _members(annotation: Any) -> list[Any]:
    """Returns what an annotation may be, unions taken apart."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for argument in get_args(annotation) for member in _members(argument)]
    return _members(get_args(annotation)[0]) if get_origin(annotation) is Annotated else [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def line_numbers(source: Path) -> dict[Location, int]:
    """Returns the line of every key of a YAML file, counting from 1."""
    numbers: dict[Location, int] = {}

    def visit(node: yaml.Node, path: Location) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                numbers[(*path, key.value)] = key.start_mark.line + 1
                visit(value, (*path, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                numbers[(*path, index)] = item.start_mark.line + 1
                visit(item, (*path, index))

    root = yaml.compose(source.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    if root is not None:
        visit(root, ())
    return numbers
