"""The arithmetic of multiplication-free layers: functions of tensors, one file an op."""

from __future__ import annotations

from dsnn_hpo.kernels._implementation import Implementation, use_implementation
from dsnn_hpo.kernels._library import available_isas, isa
from dsnn_hpo.kernels._ops import fuses, is_direct
from dsnn_hpo.kernels.adder import adder_conv2d, adder_conv2d_reference, adder_linear, adder_linear_reference
from dsnn_hpo.kernels.conv2d import (
    Geometry,
    Output8Bit,
    Residual,
    conv2d_u8,
    conv2d_u8_reference,
)
from dsnn_hpo.kernels.fixed_point import (
    FixedPointRounding,
    fixed_point,
    fixed_point_range,
    fixed_point_reference,
)
from dsnn_hpo.kernels.linear import (
    FEW_ROWS,
    linear_int8,
    linear_int8_reference,
    linear_packed,
    linear_packed_reference,
)
from dsnn_hpo.kernels.packed_weight import MAX_CODE_BITS, MAX_COLUMNS, PackedWeight, pack
from dsnn_hpo.kernels.power_of_two import (
    ShiftType,
    WeightRounding,
    exponent_range,
    power_of_two_ps,
    power_of_two_ps_reference,
    power_of_two_q,
    power_of_two_q_reference,
    straight_through_ps,
    straight_through_q,
)
from dsnn_hpo.kernels.relu_fixed_point import add_relu_fixed_point, relu_fixed_point, relu_fixed_point_reference
from dsnn_hpo.kernels.spatial_shift import spatial_shift, spatial_shift_reference
from dsnn_hpo.kernels.triton import register as _register_for_gpus

__all__ = [
    "FEW_ROWS",
    "MAX_CODE_BITS",
    "MAX_COLUMNS",
    "FixedPointRounding",
    "Geometry",
    "Implementation",
    "Output8Bit",
    "PackedWeight",
    "Residual",
    "ShiftType",
    "WeightRounding",
    "add_relu_fixed_point",
    "adder_conv2d",
    "adder_conv2d_reference",
    "adder_linear",
    "adder_linear_reference",
    "available_isas",
    "conv2d_u8",
    "conv2d_u8_reference",
    "exponent_range",
    "fixed_point",
    "fixed_point_range",
    "fixed_point_reference",
    "fuses",
    "is_direct",
    "isa",
    "linear_int8",
    "linear_int8_reference",
    "linear_packed",
    "linear_packed_reference",
    "pack",
    "power_of_two_ps",
    "power_of_two_ps_reference",
    "power_of_two_q",
    "power_of_two_q_reference",
    "relu_fixed_point",
    "relu_fixed_point_reference",
    "spatial_shift",
    "spatial_shift_reference",
    "straight_through_ps",
    "straight_through_q",
    "use_implementation",
]

_register_for_gpus()
