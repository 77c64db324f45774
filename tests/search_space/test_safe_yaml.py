from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.errors import ExperimentError, SearchSpaceError
from dsnn_hpo.search_space import read_yaml

BILLION_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + previous] * 9)}]\n"
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def _read(folder: Path, content: str | bytes) -> object:
    file = folder / "file.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(file, ExperimentError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1e-3", {"a": 0.001}),
        ("a: [1E5, -2e+3, +1e0, 1.5e-2, .5, 1.]", {"a": [1e5, -2e3, 1.0, 0.015, 0.5, 1.0]}),
        ("a: [e5, 1e, 12, '1e-3', 1e3x, -e3]", {"a": ["e5", "1e", 12, "1e-3", "1e3x", "-e3"]}),
        ("a: {b: [true, null, x]}", {"a": {"b": [True, None, "x"]}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("\ufeffa: ü", {"a": "ü"}),
        ("", None),
        ("- 1\n- 2", [1, 2]),
    ],
)
def test_plain_values(tmp_path: Path, text: str, expected: object) -> None:
    assert _read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3", r"file\.yaml, line 3, column 2: "),
        ("a: 1\na: 2", r"line 2, column 1: key 'a' was given on line 1 already"),
        ("x:\n  a: 1\n  b: 2\n  a: 3", r"line 4, column 3: key 'a' was given on line 2 already"),
        (BILLION_LAUGHS, r"line 5, .*expand to more than 20000 entries"),
        ("a: &a [*a]", "an alias refers to itself"),
        ("a: " + "[" * 40 + "]" * 40, "nested deeper than 32"),
        ("[" * 100_000, "nested deeper than 32"),
        ("a: [" + "1," * 30_000 + "]", "more than 20000 entries"),
        ("# " + "x" * 300_000, "larger than 256 KiB"),
        ("? [a]\n: b", "a key must be plain text"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        (b"a: 1\nb: \xff", r"line 2: not UTF-8 text \(byte 0xff\)"),
        ("a: \x00", "not valid YAML"),
        ("a: *nowhere", "undefined alias"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: 2020-13-45", "not valid YAML"),
        ("a:\tb: c", "line 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ExperimentError, match=message) as caught:
        _read(tmp_path, content)
    assert str(tmp_path / "file.yaml") in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(SearchSpaceError, match=r"none\.yaml: no such file"):
        read_yaml(tmp_path / "none.yaml", SearchSpaceError)
    with pytest.raises(ExperimentError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path, ExperimentError)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.one_of(st.binary(max_size=60), st.text(alphabet="ab:-[]{}&*!?|>#'\" \n1e.~<", max_size=60)))
def test_any_file_is_read_or_refused(data: bytes | str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        value = _read(folder, data)
    except ExperimentError as error:
        message = str(error)
    else:
        message = "file.yaml"
        assert value is None or isinstance(value, (dict, list, str, int, float, bool, bytes, set, date))
    assert "file.yaml" in message
