#include "isa.hpp"
#include "quantise.inl"
#include "simd_avx512.inl"
// in this order
#include "each.inl"
#include "decode.inl"
#include "gemm.inl"
#include "planes.inl"
#include "direct.inl"
#include "adder8.inl"
#include "gemm_conv.inl"
#include "winograd.inl"
#include "depthwise.inl"
#include "float_linear.inl"
#include "rows.inl"
#include "steps.inl"
#include "lanes_avx512.inl"
#include "spatial_shift.inl"
#include "adder_power.inl"
#include "adder.inl"

namespace dsnn {

const Isa kAvx512Vnni = {"avx512vnni", kQuantise, conv, float_linear, quantise_row, kSteps, move_pixels, kAdder};

}  // namespace dsnn
