// What the kernels of adder layers need to know. A kernel works on blocks of 16 lanes: output channels in the forward pass,
// where the source is the input, and input channels in the input gradient, where the source is the output's gradient.
#pragma once
#include <cstdint>

namespace dsnn {

// Columns of a weight whose values lie side by side in the source.
struct AdderRun {
  int64_t offset;  // in the source, from where the pixel's patch begins
  int32_t length;
};

struct Adder {
  const float* source;       // with room for padding, so that every run of every pixel can be read
  const int64_t* source_at;  // a pixel: where its patch begins
  const int64_t* target_at;  // a pixel: where its lanes begin
  int64_t n_pixels;
  const AdderRun* runs;
  int32_t n_runs;
  int64_t n_columns;       // the sum of the runs' lengths
  const float* weight;     // blocks of [n_columns][16], zero in lanes beyond n_lanes
  int32_t n_lanes;
  float* target;
  const float* pixel_sums;  // forward, exponent 1: the sum of all columns, a pixel
  const float* lane_sums;   // forward, exponent 1: the sum of a weight's lane. Gradient: NaN if the lane has one, else 0
  const float* x;           // gradient: as the target
  float exponent;
  const float* next;  // what will be the source soon, next_step floats a pixel; or null
  int64_t next_step;
};

// The weight gradient of a block of 16 lanes, input channels, at one tap, for exponents above 1.
struct AdderWeightGrad {
  const float* x;       // of the block's first lane
  const int64_t* x_at;  // a pixel: what the tap sees
  const float* grad;    // of the output, of the first row; of the block's first lane where depthwise
  const int64_t* grad_at;
  int64_t n_pixels;
  const float* weight;  // [n_rows][16]
  float* sums;          // the same; added to
  int32_t n_rows, n_lanes;
  bool is_depthwise;
  float exponent;
};

struct AdderKernels {
  // -sum |source - w|**exponent
  void (*forward)(const Adder&);
  // sum source * slope(w - x); the slope is clip(d, -1, 1) at exponent 1, else p |d|**(p-1) sgn(d)
  void (*grad_input)(const Adder&);
  // The same where lane i of the target sees only lane i of the source, and a column is a run.
  void (*depthwise_forward)(const Adder&);
  void (*depthwise_grad_input)(const Adder&);
  void (*grad_weight)(const AdderWeightGrad&);
  // The sums of n vectors of `length` floats that lie side by side.
  void (*sums)(const float* vectors, int64_t n, int64_t length, float* sums);
};

}  // namespace dsnn
