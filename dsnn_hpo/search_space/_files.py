"""Finding a search-space file: a shipped one by name, any other by path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from dsnn_hpo.errors import SearchSpaceError, one_of


def find_space(name_or_path: str, base: Path) -> Path:
    """Returns the file of a search space.

    A bare name such as ``dsnn`` means a space that ships with the package; anything with a folder or a suffix is a
    path, relative to ``base``. Raises SearchSpaceError if there is no such file.
    """
    path = Path(name_or_path)
    if name_or_path and path.name == name_or_path and not path.suffix:
        file = _shipped_folder() / f"{name_or_path}.yaml"
        if not file.is_file():
            raise SearchSpaceError(f"no search space named {one_of(name_or_path, shipped_spaces())}")
        return file
    file = base / path.expanduser()
    if not file.is_file():
        names = ", ".join(shipped_spaces())
        raise SearchSpaceError(f"no search-space file {file}; give an existing file or a shipped name: {names}")
    return file


def shipped_spaces() -> tuple[str, ...]:
    """Returns the names of the spaces that ship with the package, sorted."""
    return tuple(sorted(file.stem for file in _shipped_folder().glob("*.yaml")))


def _shipped_folder() -> Path:
    package = Path(str(resources.files("dsnn_hpo")))
    installed = package / "_shipped" / "search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"
