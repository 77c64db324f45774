#include "isa.hpp"

namespace dsnn {
namespace {
}  // namespace

const Isa kAvx512Vnni = {"avx512vnni"};

}  // namespace dsnn
