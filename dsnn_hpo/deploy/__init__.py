"""Frozen networks as folders: packed, checked, ready to predict; and as one file of C."""

from __future__ import annotations

from dsnn_hpo.deploy._facts import ModelFacts, Preprocessing
from dsnn_hpo.deploy._folder import load_model, save_model
from dsnn_hpo.deploy._model import DeployedModel, Predictions, error_rate

__all__ = [
    "DeployedModel",
    "ModelFacts",
    "Predictions",
    "Preprocessing",
    "error_rate",
    "load_model",
    "save_model",
]
