#include "isa.hpp"
#include "quantise.inl"

namespace dsnn {

const Isa kAvx512Vnni = {"avx512vnni", kQuantise};

}  // namespace dsnn
