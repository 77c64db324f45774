from __future__ import annotations

from pathlib import Path

import pytest

from dsnn_hpo import search_space
from dsnn_hpo.errors import SearchSpaceError
from dsnn_hpo.search_space import find_space, shipped_spaces


def test_shipped_spaces_are_found_by_name(tmp_path: Path) -> None:
    assert shipped_spaces() == ("dsnn", "dsnn_paper", "hybrid", "operator")
    for name in shipped_spaces():
        assert find_space(name, tmp_path).name == f"{name}.yaml"


def test_a_path_is_relative_to_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    for place in ("own.yaml", "spaces/own", "dsnn.yaml"):
        (tmp_path / place).write_text("")
        assert find_space(place, tmp_path) == tmp_path / place
    assert find_space(str(tmp_path / "own.yaml"), Path("/nowhere")) == tmp_path / "own.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dsn", r"'dsn' \(did you mean 'dsnn'\? allowed: dsnn, dsnn_paper, hybrid, operator\)"),
        ("own.yaml", r"own\.yaml; give an existing file or a shipped name: dsnn, dsnn_paper, hybrid, operator"),
        ("../dsnn", "no search-space file"),
        ("", "no search-space file"),
    ],
)
def test_missing_spaces(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        find_space(name, tmp_path)


def test_public_names_exist() -> None:
    assert all(hasattr(search_space, name) for name in search_space.__all__)
