#include "isa.hpp"

namespace dsnn {
namespace {
}  // namespace

const Isa kAvx512 = {"avx512"};

}  // namespace dsnn
