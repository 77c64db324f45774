"""Multiplication-free layers as modules, the conversion of float networks to them, and what training needs of them.

Training builds its optimizer from ``parameter_groups``, calls ``set_progress_`` before each epoch, adds ``regularization``
to the loss, and calls ``clamp_parameters_`` after each step of the optimizer.
"""

from __future__ import annotations

from dsnn_hpo.operators._adder import Adder, AdderConv2d, AdderLayer, AdderLinear, gaussian_to_laplacian
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
from dsnn_hpo.operators._min_conv import MinConv, MinConv2d, MinLayer, MinLinear
from dsnn_hpo.operators._optimization import clamp_parameters_, parameter_groups, regularization, set_progress_
from dsnn_hpo.operators._pointwise_depthwise import PointwiseDepthwise, PointwiseDepthwisePointwise
from dsnn_hpo.operators._registry import OPERATORS, OperatorEntry, operator
from dsnn_hpo.operators._shift import ShiftConv2d, ShiftLayer, ShiftLinear, add_relu_for, relu_then
from dsnn_hpo.operators._shift_add import ShiftAdd, ShiftAddConv2d, ShiftAddLinear
from dsnn_hpo.operators._size import n_convolutions, packed_size_bytes
from dsnn_hpo.operators._spatial_shift import (
    ShiftConv,
    ShiftConvBlock,
    SpatialShift,
    SpatialShift2d,
    SpatialShiftConv2d,
)
from dsnn_hpo.operators._stages import stages
from dsnn_hpo.operators._winograd_adder import WinogradAdder, WinogradAdderConv2d
from dsnn_hpo.operators._work import Convolution, NumberKind, Operation, OperationCount
from dsnn_hpo.operators.count import LayerCounts, NetworkCounts, count_operations, counts_table

__all__ = [
    "OPERATORS",
    "Adder",
    "AdderConv2d",
    "AdderLayer",
    "AdderLinear",
    "Chooser",
    "Convolution",
    "FixedPoint",
    "LayerCounts",
    "LayerFilter",
    "MinConv",
    "MinConv2d",
    "MinLayer",
    "MinLinear",
    "NetworkCounts",
    "NumberKind",
    "Operation",
    "OperationCount",
    "Operator",
    "OperatorEntry",
    "OperatorLayer",
    "PointwiseDepthwise",
    "PointwiseDepthwisePointwise",
    "ShiftAdd",
    "ShiftAddConv2d",
    "ShiftAddLinear",
    "ShiftConfig",
    "ShiftConv",
    "ShiftConv2d",
    "ShiftConvBlock",
    "ShiftLayer",
    "ShiftLinear",
    "SpatialShift",
    "SpatialShift2d",
    "SpatialShiftConv2d",
    "WinogradAdder",
    "WinogradAdderConv2d",
    "add_relu_for",
    "by_stage",
    "clamp_parameters_",
    "convert_",
    "count_operations",
    "counts_table",
    "gaussian_to_laplacian",
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
