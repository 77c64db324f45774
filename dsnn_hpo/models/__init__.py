"""Networks in plain torch, one file a family, built by name for an input shape and a number of classes."""

from __future__ import annotations

from dsnn_hpo.models._blocks import InputShape
from dsnn_hpo.models._registry import MODELS, build_model, model_arguments, n_convolutions, n_stages

__all__ = ["MODELS", "InputShape", "build_model", "model_arguments", "n_convolutions", "n_stages"]
