#include "isa.hpp"

namespace dsnn {
namespace {
}  // namespace

const Isa kAvx2 = {"avx2"};

}  // namespace dsnn
