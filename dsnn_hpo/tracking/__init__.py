"""A mirror of the journal in MLflow, for people to browse; nothing is ever read back from it.

Importing this package does not import MLflow: ``tracking/mlflow.py`` does, at the first pass over a journal.
"""

from dsnn_hpo.tracking._address import check_uri, is_server, run_link, view_link
from dsnn_hpo.tracking._config import TrackingConfig
from dsnn_hpo.tracking._mirror import Mirror, MirrorStatus, open_mirror, sync
from dsnn_hpo.tracking._rendered import Render, Rendered
from dsnn_hpo.tracking._ui import ui_command, ui_environment, wait_until_up

__all__ = [
    "Mirror",
    "MirrorStatus",
    "Render",
    "Rendered",
    "TrackingConfig",
    "check_uri",
    "is_server",
    "open_mirror",
    "run_link",
    "sync",
    "ui_command",
    "ui_environment",
    "view_link",
    "wait_until_up",
]
