"""Frozen networks as folders: packed, checked, ready to predict; and as one file of C."""

from __future__ import annotations

from dsnn_hpo.deploy._facts import ModelFacts, Preprocessing
from dsnn_hpo.deploy._folder import load_model, save_model
from dsnn_hpo.deploy._model import DeployedModel, Predictions, error_rate
from dsnn_hpo.deploy._use import Evaluation, FilePrediction, evaluate_on, predict_files
from dsnn_hpo.deploy.c import CSource, write_c

__all__ = [
    "CSource",
    "DeployedModel",
    "Evaluation",
    "FilePrediction",
    "ModelFacts",
    "Predictions",
    "Preprocessing",
    "error_rate",
    "evaluate_on",
    "load_model",
    "predict_files",
    "save_model",
    "write_c",
]
