#include "isa.hpp"
#include "quantise.inl"

namespace dsnn {

const Isa kPortable = {"portable", kQuantise};

}  // namespace dsnn
