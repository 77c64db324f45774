// The table of functions that each instruction set fills in. One source file an instruction set, compiled with its flags,
// all from the same .inl files; those files use no inline function of the standard library, so that the linker can never
// give code with wide instructions to a file without them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "quantise.hpp"

namespace dsnn {

struct Isa {
  const char* name;
  Quantise quantise;
};

extern const Isa kPortable;
#ifdef DSNN_X86
extern const Isa kAvx2;
extern const Isa kAvx512;
extern const Isa kAvx512Vnni;
#endif

// The instruction set in use.
const Isa& isa();

}  // namespace dsnn
