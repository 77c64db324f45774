// The table of functions that each instruction set fills in. One source file an instruction set, compiled with its flags,
// all from the same .inl files; those files use no inline function of the standard library, so that the linker can never
// give code with wide instructions to a file without them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "adder.hpp"
#include "conv.hpp"
#include "quantise.hpp"
#include "spatial_shift.hpp"
#include "steps.hpp"

namespace dsnn {

struct Isa {
  const char* name;
  Quantise quantise;
  // Part `part` of `n_parts` of a convolution or a linear layer; the parts may run at the same time.
  void (*conv)(const Conv& conv, int part, int n_parts);
  // Part `part` of `n_parts` of a linear layer on floats.
  void (*float_linear)(const FloatLinear& linear, int part, int n_parts);
  // A row of k floats to unsigned 8 bits with zero point 128, and its scale; false where it has NaN or infinity.
  bool (*quantise_row)(const float* x, int k, uint8_t* q, float* scale);
  Steps steps;
  void (*move_pixels)(const PixelMove& move);
  AdderKernels adder;
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
