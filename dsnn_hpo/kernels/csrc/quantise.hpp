// What the one-pass quantisers of training take; every instruction set fills in one table of them.
#pragma once
#include <cstdint>

namespace dsnn {

// Random numbers of stochastic rounding: see `philox4x32` in kernels/_philox.py, the same function.
struct Randomness {
  bool is_stochastic;
  uint64_t seed;
};

struct FixedPointFormat {
  // 2**F and 2**-F
  float scale;
  float step;
  float lowest;
  float highest;
};

enum class Rounding : int32_t { kFloor = 0, kNearest = 1, kStochastic = 2 };

struct ReluTensors {
  const float* x;
  const float* shortcut;
  float* rectified;
  float* y;
  uint8_t* positive;
};

// Each function treats elements `first` to `first + n` of a tensor, given from its element `first` on; `first` is a
// multiple of kRandomChunk. Inputs and output do not overlap.
constexpr int64_t kRandomChunk = 256;

struct Quantise {
  void (*q)(const float* weight, float* value, int64_t first, int64_t n, int32_t lowest, Randomness randomness);
  void (*ps)(const float* shift, const float* sign, float* value, int64_t first, int64_t n, int32_t lowest,
             Randomness randomness);
  void (*ps_backward)(const float* grad, const float* value, float* grad_shift, int64_t n);
  void (*fixed_point)(const float* x, float* y, int64_t first, int64_t n, FixedPointFormat format, Rounding rounding,
                      uint64_t seed);
  // y = fixed_point(rectified), rectified = relu(x + shortcut); without a shortcut (null) rectified = relu(x), and it is
  // not stored. Bit i % 8 of positive[i / 8] says whether the gradient of relu passes at element i.
  void (*relu_fixed_point)(const ReluTensors& tensors, int64_t first, int64_t n, FixedPointFormat format,
                           Rounding rounding, uint64_t seed);
  // grad_x = grad (+ other, unless that is null) where the bit is set, else 0
  void (*relu_backward)(const float* grad, const float* other, const uint8_t* positive, float* grad_x, int64_t n);
};

}  // namespace dsnn
