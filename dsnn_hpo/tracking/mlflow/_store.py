"""An MLflow store: its client, and what becomes of its errors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SADeprecationWarning, SQLAlchemyError

from dsnn_hpo.errors import ArtifactError, TrackingError
from dsnn_hpo.tracking._address import without_password

# MLflow tells each step of creating its database, in the middle of the run's own progress.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


@contextmanager
def asking(uri: str, for_files: bool = False) -> Iterator[None]:
    """Returns a context in which the errors of a store are TrackingErrors; ArtifactErrors where it is about files."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        # Requests' errors are OSErrors.
        kind = ArtifactError if for_files else TrackingError
        what = "it refuses files: " if for_files else ""
        raise kind(f"MLflow at {without_password(uri)}: {what}{_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Returns what the system said (``Connection refused``), or the first line of the error."""
    root = error
    while (cause := root.__cause__ or root.__context__) is not None:
        root = cause
    if isinstance(root, TimeoutError):
        return "no answer in time"
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    # The other lines are SQL or a page of HTML.
    return without_password((str(error).strip().splitlines() or [type(error).__name__])[0][:300])


def client_of(uri: str) -> MlflowClient:
    """Returns a client whose registry of models is that of the store, too."""
    with warnings.catch_warnings():
        # MLflow 3.17.2 uses a loader strategy that SQLAlchemy 2.1 deprecates, once, as its tables are first mapped.
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy", category=SADeprecationWarning)
        return MlflowClient(uri, registry_uri=uri)
