#include "isa.hpp"
#include "quantise.inl"

namespace dsnn {

const Isa kAvx2 = {"avx2", kQuantise};

}  // namespace dsnn
