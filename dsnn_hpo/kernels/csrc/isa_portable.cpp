#include "isa.hpp"

namespace dsnn {
namespace {
}  // namespace

const Isa kPortable = {"portable"};

}  // namespace dsnn
