// What a convolution or a linear layer on 8-bit activations needs to know. A linear layer is a convolution of one tap whose
// pixels are the rows of its input.
#pragma once
#include <cstdint>

namespace dsnn {

// What is summed over a row, q an activation.
enum class Operation : int32_t {
  kProduct = 0,   // q * w
  kDistance = 1,  // -|q - u|, u of 8 bits as q is
  kMinimum = 2,   // |q - v| - |q - u|; a block holds the quads of u and then those of v
  kWinograd = 3,  // -|u - t| over transformed tiles t; a block holds int16 [16 places][n_quads * 2][16 rows][2 columns]
};

// A weight in the packed layout (see packed_weight.py), of one or more groups of rows.
struct Weight {
  const uint8_t* codes;     // blocks of 16 rows; of dense int8 weights [n_quads][16 rows][4 columns] a block
  int32_t bits;             // of a code, 2 to 6; 8: int8 values instead of codes
  int32_t has_zero;         // whether magnitude 0 stands for zero
  int32_t n_quads;          // groups of four columns a row
  const uint8_t* n_planes;  // a block; unused for int8 values
  Operation operation;      // other ones than products have no codes
  const int32_t* output_transform;  // (2, 4), of kWinograd
};

// y = float(acc) * scale[n] (* row_scale[pixel]) + bias[n] (+ float(residual - residual_zero) * residual_scale), every
// product and sum rounded by itself; then, for 8-bit output, round(min(max(y, low), high)) + zero, halves to even.
struct Epilogue {
  const float* scale;         // a row
  const float* bias;          // a row, or null for zeros
  const int64_t* correction;  // a row: what to take off; the sum of its integers times the input's zero point, of products
  const float* row_scale;     // a pixel, or null; only with float output
  float low, high;            // in the output's units, before its zero point is added
  int32_t zero;               // the output's zero point
  float residual_scale;
  int32_t residual_zero;
  bool to_float;              // float output, without limits and rounding
};

// Input, output and residual are NHWC; strides are in elements. Input coordinates are padded ones: output pixel (y, x) reads
// the taps (y * stride_h + i * dilation_h, x * stride_w + j * dilation_w). Channels of a group lie side by side.
struct Conv {
  const uint8_t* input;
  int64_t in_image, in_row, in_pixel;
  void* output;  // uint8_t, or float with epilogue.to_float; must not overlap with input or residual
  int64_t out_image, out_row, out_pixel;
  const uint8_t* residual;  // or null
  int64_t res_image, res_row, res_pixel;
  int32_t n_images, out_h, out_w;
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int32_t groups;
  int32_t in_channels;   // a group's, a multiple of 4 (the padding channels hold 0); all of them where depthwise
  int32_t out_channels;  // a group's; all of them where depthwise
  bool depthwise;        // one input and one output channel a group: rows are channels, columns are taps
  Weight weight;
  Epilogue epilogue;
};

// y[m][n] = sum_k x[m][k] * w[n][k] * scale[n] + bias[n] in float32.
struct FloatLinear {
  const float* x;     // rows padded with zeros to whole quads
  int64_t x_stride;   // of a row, in elements
  float* y;           // (m, n_out), contiguous
  int32_t m, n_out;
  Weight weight;
  const float* scale;
  const float* bias;  // or null
};

// Bytes of each column of a row whose weights are no codes.
static inline int64_t bytes_per_column(Operation operation) {
  return operation == Operation::kWinograd ? 32 : operation == Operation::kMinimum ? 2 : 1;
}

// Bytes of a block's codes.
static inline int64_t block_bytes(const Weight& weight) {
  if (weight.bits == 8) return int64_t{64} * weight.n_quads * bytes_per_column(weight.operation);
  int64_t bytes = 0;
  for (int field = 4; field > 0; field >>= 1)
    if (weight.bits & field) bytes += 64 * ((int64_t{weight.n_quads} * field + 7) / 8);
  return bytes;
}

constexpr int64_t kParallelWork = 1 << 20;  // products below which threads cost more than they save
constexpr int32_t kNotFinite = 1, kNoMemory = 2;

// Memory of the calling thread, at least `bytes` long, aligned to 64, kept from call to call. The kernels of an instruction
// set use slots 0 to 2, their callers slot 3 and up. Throws std::bad_alloc.
uint8_t* scratch(int slot, int64_t bytes);

}  // namespace dsnn
