"""Multiplication-free layers as modules, the conversion of float networks to them, and what training needs of them.

Training builds its optimizer from ``parameter_groups``, calls ``set_progress_`` before each epoch, adds ``regularization``
to the loss, and calls ``clamp_parameters_`` after each step of the optimizer.
"""

from __future__ import annotations

from dsnn_hpo.operators._config import ShiftConfig
from dsnn_hpo.operators._convert import LayerFilter, convert_to_shift_, last_convolutions
from dsnn_hpo.operators._count import n_convolutions, packed_size_bytes
from dsnn_hpo.operators._fixed_point import FixedPoint
from dsnn_hpo.operators._layer import OperatorLayer
from dsnn_hpo.operators._optimization import clamp_parameters_, parameter_groups, regularization, set_progress_
from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLayer, ShiftLinear, add_relu_for, relu_then

__all__ = [
    "FixedPoint",
    "LayerFilter",
    "OperatorLayer",
    "ShiftConfig",
    "ShiftConv2d",
    "ShiftLayer",
    "ShiftLinear",
    "add_relu_for",
    "clamp_parameters_",
    "convert_to_shift_",
    "last_convolutions",
    "n_convolutions",
    "packed_size_bytes",
    "parameter_groups",
    "regularization",
    "relu_then",
    "set_progress_",
]
