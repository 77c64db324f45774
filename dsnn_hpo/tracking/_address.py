"""Tracking URIs that can work, and links into the MLflow UI."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from dsnn_hpo.errors import InputError, one_of

_DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql", "mssql": "pyodbc"}
_ALLOWED = (
    "sqlite:///FILE, postgresql+psycopg2://..., mysql+pymysql://..., or the http(s):// address of an MLflow server"
)
_SQLITE_MAGIC = b"SQLite format 3\x00"


def check_uri(uri: str) -> None:
    """Returns nothing if a store can be at this URI; that a server does not answer is no error, the mirror catches up.

    Raises:
        InputError: MLflow would refuse the URI, its file cannot be a SQLite database, or its driver is not installed.
    """
    scheme, separator, _ = uri.partition(":")
    dialect = scheme.partition("+")[0].lower()
    if not separator or (len(scheme) == 1 and scheme.isalpha()) or dialect == "file":
        raise InputError(f"tracking.uri: {uri!r} is a folder, and MLflow 3 no longer keeps runs in one; use {_ALLOWED}")
    if dialect in ("http", "https"):
        _check_server(uri)
    elif dialect == "sqlite":
        _check_sqlite(uri)
    elif dialect in _DRIVERS:
        _check_database(uri)
    else:
        known = one_of(dialect, ["http", "https", "sqlite", *_DRIVERS])
        raise InputError(f"tracking.uri: unknown kind of store {known} in {without_password(uri)!r}; use {_ALLOWED}")


def _check_server(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"tracking.uri: {without_password(uri)!r} names no host; write it as http://HOST:PORT")


def _check_sqlite(uri: str) -> None:
    path = sqlite_path(uri)
    if path is None:
        raise InputError(f"tracking.uri: {uri!r} names no file; write it as sqlite:////absolute/path/mlflow.db")
    if path.is_dir():
        raise InputError(f"tracking.uri: {path} is a folder; name a file in it, such as sqlite:///{path}/mlflow.db")
    if path.exists():
        if not os.access(path, os.R_OK | os.W_OK):
            raise InputError(f"tracking.uri: {path} cannot be read and written")
        with path.open("rb") as file:
            start = file.read(len(_SQLITE_MAGIC))
        if start not in (b"", _SQLITE_MAGIC):
            raise InputError(f"tracking.uri: {path} is not a SQLite database; name another file, or one not there yet")
        return
    parent = next(p for p in path.absolute().parents if p.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise InputError(f"tracking.uri: {path} cannot be created, for {parent} is not a folder that can be written")


def _check_database(uri: str) -> None:
    # SQLAlchemy comes with MLflow and knows which driver a URI means; imported here, for it takes 0.2 s.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(uri)
        url.get_dialect().import_dbapi()
    except (ImportError, NoSuchModuleError) as error:
        dialect = uri.partition("://")[0].partition("+")[0].lower()
        advice = f"install a driver ({_DRIVERS[dialect]}) and name it: {dialect}+{_DRIVERS[dialect]}://..."
        raise InputError(f"tracking.uri: {without_password(uri)!r}: {error}; {advice}") from None
    except ArgumentError:
        raise InputError(f"tracking.uri: not a valid address of a database; use {_ALLOWED}") from None


def sqlite_path(uri: str) -> Path | None:
    """Returns the file of a ``sqlite:///FILE`` URI; None if it is another kind of URI or names no file."""
    match = re.fullmatch(r"sqlite(\+\w+)?:///([^?]+)(\?.*)?", uri, flags=re.IGNORECASE)
    return Path(match[2]) if match and match[2] != ":memory:" else None


def without_password(uri: str) -> str:
    """Returns the URI with the password, if any, replaced by stars."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", uri)


def is_server(uri: str) -> bool:
    """Returns whether the URI is the address of an MLflow server, not of a store."""
    return uri.lower().startswith(("http://", "https://"))


def run_link(base_url: str, experiment_id: str, run_id: str, artifact: str = "") -> str:
    """Returns the address of a run's page, or of an artifact on it.

    Args:
        base_url: the server's address, or empty for a link from within the UI.
        experiment_id: MLflow's.
        run_id: MLflow's.
        artifact: path of the artifact to show.
    """
    place = f"experiments/{experiment_id}/runs/{run_id}" + (f"/artifacts/{artifact}" if artifact else "")
    # Without workflowType the UI shows its pages for language models, which know nothing of these runs.
    return f"{_root(base_url)}#/{place}?workflowType=machine_learning"


def view_link(base_url: str, experiment_id: str, run_id: str) -> str:
    """Returns the address of the saved view (scatter and parallel coordinates) of a parent run's configurations."""
    query = f"workflowType=machine_learning&viewStateShareKey={quote(view_key(run_id))}&compareRunsMode=CHART"
    return f"{_root(base_url)}#/experiments/{experiment_id}/runs?{query}"


def version_link(base_url: str, name: str, version: str) -> str:
    """Returns the address of a version of a registered model."""
    return f"{_root(base_url)}#/models/{quote(name, safe='')}/versions/{version}?workflowType=machine_learning"


def view_key(run_id: str) -> str:
    """Returns the name under which a parent run's view is saved."""
    return f"dsnn-hpo-{run_id}"


def _root(base_url: str) -> str:
    return f"{base_url.rstrip('/')}/" if base_url else ""
