"""A mirror of the journal in MLflow, for people to browse; nothing is ever read back from it.

Importing this package does not import MLflow: ``tracking/mlflow/`` does, at the first pass over a journal.
"""

from dsnn_hpo.tracking._address import (
    check_uri,
    is_server,
    run_link,
    sqlite_path,
    version_link,
    view_link,
    without_password,
)
from dsnn_hpo.tracking._config import TrackingConfig
from dsnn_hpo.tracking._mirror import Mirror, MirrorStatus, open_mirror, sync, target_of
from dsnn_hpo.tracking._packed import Packed
from dsnn_hpo.tracking._register import Registered, Registration, register
from dsnn_hpo.tracking._rendered import Content, Render, Rendered
from dsnn_hpo.tracking._session import Progress, Target
from dsnn_hpo.tracking._ui import ui_command, ui_environment, wait_until_up

__all__ = [
    "Content",
    "Mirror",
    "MirrorStatus",
    "Packed",
    "Progress",
    "Registered",
    "Registration",
    "Render",
    "Rendered",
    "Target",
    "TrackingConfig",
    "check_uri",
    "is_server",
    "open_mirror",
    "register",
    "run_link",
    "sqlite_path",
    "sync",
    "target_of",
    "ui_command",
    "ui_environment",
    "version_link",
    "view_link",
    "wait_until_up",
    "without_password",
]
