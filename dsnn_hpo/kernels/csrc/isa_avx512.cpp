#include "isa.hpp"
#include "quantise.inl"

namespace dsnn {

const Isa kAvx512 = {"avx512", kQuantise};

}  // namespace dsnn
