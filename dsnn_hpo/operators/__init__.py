"""Multiplication-free layers as modules, the conversion of float networks to them, and what training needs of them.

Training builds its optimizer from ``parameter_groups``, calls ``set_progress_`` before each epoch, adds ``regularization``
to the loss, and calls ``clamp_parameters_`` after each step of the optimizer.
"""

from __future__ import annotations

from dsnn_hpo.operators._choose import (
    LayerFilter,
    by_stage,
    keep_first,
    keep_last,
    last_convolutions,
    matching,
    only,
)
from dsnn_hpo.operators._config import ShiftConfig
from dsnn_hpo.operators._convert import Chooser, convert_
from dsnn_hpo.operators._fixed_point import FixedPoint
from dsnn_hpo.operators._layer import Operator, OperatorLayer
from dsnn_hpo.operators._optimization import clamp_parameters_, parameter_groups, regularization, set_progress_
from dsnn_hpo.operators._registry import OPERATORS, OperatorEntry, operator
from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLayer, ShiftLinear, add_relu_for, relu_then
from dsnn_hpo.operators._size import n_convolutions, packed_size_bytes
from dsnn_hpo.operators._stages import stages
from dsnn_hpo.operators._work import NumberKind, Operation, OperationCount
from dsnn_hpo.operators.count import LayerCounts, NetworkCounts, count_operations, counts_table

__all__ = [
    "OPERATORS",
    "Chooser",
    "FixedPoint",
    "LayerCounts",
    "LayerFilter",
    "NetworkCounts",
    "NumberKind",
    "Operation",
    "OperationCount",
    "Operator",
    "OperatorEntry",
    "OperatorLayer",
    "ShiftConfig",
    "ShiftConv2d",
    "ShiftLayer",
    "ShiftLinear",
    "add_relu_for",
    "by_stage",
    "clamp_parameters_",
    "convert_",
    "count_operations",
    "counts_table",
    "keep_first",
    "keep_last",
    "last_convolutions",
    "matching",
    "n_convolutions",
    "only",
    "operator",
    "packed_size_bytes",
    "parameter_groups",
    "regularization",
    "relu_then",
    "set_progress_",
    "stages",
]
