"""Writing a comparison's picture."""

from __future__ import annotations

from pathlib import Path

from dsnn_hpo.errors import InputError
from dsnn_hpo.report.comparison._compare import Comparison
from dsnn_hpo.report.comparison._html import comparison_html
from dsnn_hpo.report.comparison._png import comparison_png

_KINDS = (".html", ".png")


def require_picture(path: Path) -> None:
    """Raises InputError unless a picture of a comparison can be of the kind that a file's name says."""
    if path.suffix.lower() not in _KINDS:
        raise InputError(f"{path}: a comparison is written as one of {', '.join(_KINDS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.absolute().parent}")


def save_comparison(comparison: Comparison, path: Path) -> None:
    """Writes the comparison's picture, interactive as ``.html``, which needs no network, or as ``.png``.

    Raises:
        InputError: the file's name ends in neither, or its folder is missing.
        OSError: it cannot be written.
    """
    require_picture(path)
    is_page = path.suffix.lower() == ".html"
    content = comparison_html(comparison).encode() if is_page else comparison_png(comparison)
    aside = path.with_name(f".{path.name}.partial")
    aside.write_bytes(content)
    aside.replace(path)
