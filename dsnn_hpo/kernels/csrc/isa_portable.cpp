#include "isa.hpp"
#include "quantise.inl"
#include "simd_portable.inl"
// in this order
#include "decode.inl"
#include "gemm.inl"
#include "depthwise.inl"
#include "rows.inl"
#include "steps.inl"

namespace dsnn {

const Isa kPortable = {"portable", kQuantise, conv, quantise_row, kSteps};

}  // namespace dsnn
