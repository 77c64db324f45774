"""The one door to MLflow: writes run records and models through ``MlflowClient``; nothing else imports it."""

import os

# Before MLflow is imported, which would otherwise start a thread that reports home.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from mlflow import MlflowClient

from dsnn_hpo.tracking.mlflow._connection import Connection
from dsnn_hpo.tracking.mlflow._registry import register

__all__ = ["Connection", "MlflowClient", "register"]
