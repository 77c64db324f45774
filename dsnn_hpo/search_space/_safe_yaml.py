"""Reading YAML that a stranger may have written: limited in size, depth and expansion, and free of surprises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import yaml

from dsnn_hpo.errors import InputError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000

_Collection = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_CollectionEnd = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.1 whose floats need no dot: ``1e-3`` is a number, as everyone expects."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(file: Path, error: type[InputError]) -> object:
    """Returns the content of a YAML file as plain Python objects; an empty file gives None.

    Refused with ``error``, naming file and line: unreadable or non-UTF-8 files, files above 256 KiB, nesting deeper
    than 32, more than 20,000 nodes once aliases are expanded, keys that repeat or are not plain, foreign tags.
    """
    text = _read_text(file, error)
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_node(node, {}, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as problem:
        raise error(f"{file}{_line(problem.problem_mark)}: {_describe(problem)}") from problem
    except (yaml.YAMLError, ValueError, OverflowError) as problem:
        raise error(f"{file}: not valid YAML: {problem}") from problem


def _read_text(file: Path, error: type[InputError]) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as problem:
        raise error(f"{file}: no such file") from problem
    except OSError as problem:
        raise error(f"{file}: cannot be read: {problem.strerror}") from problem
    if len(data) > MAX_BYTES:
        raise error(f"{file}: larger than {MAX_BYTES // 1024} KiB, too large for a file written by hand")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise error(f"{file}, line {line}: not UTF-8 text (byte {data[problem.start]:#04x})") from problem


def _check_events(text: str) -> None:
    # The parser is iterative, the composer recursive: depth must be known before composing.
    depth = 0
    for n_events, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, _Collection) - isinstance(event, _CollectionEnd)
        if depth > MAX_DEPTH:
            raise _problem(f"nested deeper than {MAX_DEPTH}", event)
        if n_events > MAX_NODES:
            raise _problem(f"more than {MAX_NODES} entries", event)


def _check_node(node: yaml.Node, n_known: dict[int, int], above: set[int]) -> int:
    """Returns the number of nodes below and including this one with all aliases expanded."""
    if id(node) in above:
        raise _problem("an alias refers to itself", node)
    if id(node) in n_known:
        return n_known[id(node)]
    n_nodes = 1
    for child in _children(node):
        n_nodes += _check_node(child, n_known, above | {id(node)})
        if n_nodes > MAX_NODES:
            raise _problem(f"its aliases expand to more than {MAX_NODES} entries", node)
    n_known[id(node)] = n_nodes
    return n_nodes


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _problem("a key must be plain text", key)
        if key.value in seen:
            first = seen[key.value]
            raise _problem(f"key {key.value!r} was given on line {first} already", key)
        seen[key.value] = key.start_mark.line + 1
    return [child for pair in node.value for child in pair]


def _problem(message: str, where: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=cast("yaml.Mark | None", where.start_mark))


def _line(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"


def _describe(problem: yaml.MarkedYAMLError) -> str:
    return "; ".join(part for part in (problem.context, problem.problem) if part) or "not valid YAML"
