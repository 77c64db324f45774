#include "isa.hpp"
#include "quantise.inl"
#include "simd_portable.inl"
#include "simd_partial.inl"
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
#include "pixels_portable.inl"
#include "adder_power.inl"
#include "adder.inl"

namespace dsnn {

const Isa kPortable = {"portable", kQuantise, conv, float_linear, quantise_row, kSteps, move_pixels, kAdder};

}  // namespace dsnn
