// The C ABI of the compiled kernels. Plain pointers and sizes; the caller checks shapes, dtypes and contiguity.
#pragma once
#include <stdint.h>

#define DSNN_API extern "C" __attribute__((visibility("default")))

// Raised whenever a signature below changes, so that a stale library is told apart from ours.
#define DSNN_ABI_VERSION 3

DSNN_API int32_t dsnn_abi_version(void);
// The instruction set in use: "portable", "avx2", "avx512" or "avx512vnni".
DSNN_API const char* dsnn_isa(void);
// Chooses an instruction set by name; returns 0, or 1 where this processor lacks it.
DSNN_API int32_t dsnn_set_isa(const char* name);

// Quantisers of training, over n float32 elements that lie densely, in the order of memory; inputs and output do not
// overlap. Stochastic rounding takes element i's random number from (seed, i), whatever the threads.
// Q and PS round to signed powers of two from 2**lowest to 1.
DSNN_API void dsnn_power_of_two_q(const float* weight, float* value, int64_t n, int32_t lowest, int32_t is_stochastic,
                                  uint64_t seed, int32_t n_threads);
DSNN_API void dsnn_power_of_two_ps(const float* shift, const float* sign, float* value, int64_t n, int32_t lowest,
                                   int32_t is_stochastic, uint64_t seed, int32_t n_threads);
// grad_shift = grad * value * ln 2
DSNN_API void dsnn_power_of_two_ps_backward(const float* grad, const float* value, float* grad_shift, int64_t n,
                                            int32_t n_threads);
// y = clamp(round(x * scale) * step, lowest, highest); rounding 0: floor, 1: nearest, halves to even, 2: stochastic.
DSNN_API void dsnn_fixed_point(const float* x, float* y, int64_t n, float scale, float step, float lowest,
                               float highest, int32_t rounding, uint64_t seed, int32_t n_threads);
// y = dsnn_fixed_point(rectified), rectified = relu(x + shortcut), or, where shortcut is null, relu(x), which is not
// stored. Bit i % 8 of positive[i / 8], (n + 7) / 8 bytes, is set unless what goes into relu is at most 0.
DSNN_API void dsnn_relu_fixed_point(const float* x, const float* shortcut, float* rectified, float* y, uint8_t* positive,
                                    int64_t n, float scale, float step, float lowest, float highest, int32_t rounding,
                                    uint64_t seed, int32_t n_threads);
// grad_x = grad, plus other unless that is null, where the bit is set, else 0.
DSNN_API void dsnn_relu_backward(const float* grad, const float* other, const uint8_t* positive, float* grad_x,
                                 int64_t n, int32_t n_threads);

// What a convolution sums: products, distances -|q - u|, |q - v| - |q - u|, or distances of Winograd's transformed tiles; see
// plan_weight.py.
enum { DSNN_PRODUCT, DSNN_DISTANCE, DSNN_MINIMUM, DSNN_WINOGRAD };

// A weight in the packed layout; see packed_weight.py. Only steps of a plan do other operations than products.
typedef struct {
  const uint8_t* codes;
  const uint8_t* n_planes;
  int32_t bits, has_zero, n_quads, operation;
} DsnnWeight;

// A convolution of 8-bit activations; see conv.hpp for the arithmetic. Input, output and residual are NHWC and contiguous;
// padding pixels hold `input_zero`.
typedef struct {
  const uint8_t* input;
  void* output;             // uint8_t, or float with to_float
  const uint8_t* residual;  // of the output's shape, or null
  const float* scale;       // a row
  const float* bias;        // a row
  const int64_t* correction;  // a row: input_zero times the sum of the row's integers; or null
  DsnnWeight weight;
  int32_t n_images, in_h, in_w, in_channels, out_h, out_w, out_channels;
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  int32_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t groups, depthwise;
  int32_t input_zero, output_zero, residual_zero, to_float;
  float low, high, residual_scale;
} DsnnConv2d;

// Returns 0, or 2 where there was no memory (the output is then undefined).
DSNN_API int32_t dsnn_conv2d(const DsnnConv2d* conv, int32_t n_threads);

// An adder layer; see adder.hpp for the arithmetic. All tensors are float32 and contiguous: images NHWC, the weight (row,
// channel of the group, tap). Pixels of padding hold 0.
typedef struct {
  const float* x;
  const float* weight;
  const float* grad;  // of the output; null in the forward pass
  float* output;      // the output, or the gradient of x or of the weight
  int32_t n_images, in_h, in_w, in_channels, out_h, out_w, out_channels;
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_h, pad_w, groups;
  float exponent;
} DsnnAdder;

// Return 0, or 2 where there was no memory (the output is then undefined).
DSNN_API int32_t dsnn_adder_forward(const DsnnAdder* adder, int32_t n_threads);
DSNN_API int32_t dsnn_adder_grad_input(const DsnnAdder* adder, int32_t n_threads);
// For exponents above 1 only.
DSNN_API int32_t dsnn_adder_grad_weight(const DsnnAdder* adder, int32_t n_threads);

// y[m][n] = float(sum_k q[m][k] * w[n][k]) * scale[n] * row_scale[m] + bias[n], x quantised row by row to
// q = clamp(round(x * (127 / max|x|)), -127, 127), row_scale = max|x| / 127. Returns 0, or 1 where x has NaN or infinity,
// or 2 where there was no memory (y is then undefined). x is (m, k), y (m, n), both contiguous; bias may be null.
DSNN_API int32_t dsnn_linear_int8(const float* x, float* y, int32_t m, int32_t k, int32_t n, const DsnnWeight* weight,
                                  const float* scale, const float* bias, const int64_t* row_sums, int32_t n_threads);

// An activation of a plan: uint8 NHWC, with `top`, `left`, `bottom` and `right` pixels of padding around it. Of n images the
// first one begins at `offset * n` bytes, the next one `image` bytes later.
typedef struct {
  int64_t offset, image;
  int32_t height, width, channels, pixel;  // pixel: bytes of one, the channels up to a multiple of four
  int32_t top, left, bottom, right;
  int32_t zero;
} DsnnActivation;

// Channels of an activation; activation -1: none.
typedef struct {
  int32_t activation, first_channel, n_channels;
} DsnnSlice;

enum { DSNN_QUANTISE, DSNN_CONVOLVE, DSNN_POINTWISE, DSNN_POOL, DSNN_COPY, DSNN_SHIFT_CHANNELS, DSNN_DEQUANTISE };

// A step of a plan; each kind uses its own fields. See plan.py for what they compute.
typedef struct {
  int32_t kind;
  int32_t prepares;  // the activation that this step is the first one to write, or -1
  DsnnSlice source, target, residual;
  float low, high, factor, offset, residual_scale;
  int32_t is_flat;
  const float* scale;
  const float* bias;
  const int64_t* correction;  // a row: what to take off the sum
  const int32_t* rows;
  const int32_t* columns;
  const int32_t* moves;             // (number of channels, down, right) of each
  const int32_t* output_transform;  // (2, 4), of a Winograd adder
  DsnnWeight weight;
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, groups, depthwise;
  int32_t source_first[3], target_first[3], size[3];  // channel, row, column
  int32_t n_moves;
} DsnnStep;

// Of one image: floats in and out, bytes of all activations, multiply-accumulates.
typedef struct {
  int64_t n_inputs, n_outputs, image_bytes, image_products;
} DsnnPlanSize;

// A plan, or null where there is no memory. What the steps point to must live as long as the plan.
DSNN_API void* dsnn_plan_new(const DsnnActivation* activations, int32_t n_activations, const DsnnStep* steps, int32_t n_steps,
                             const DsnnPlanSize* size);
DSNN_API void dsnn_plan_free(void* plan);
// Runs a plan on n images, x (n, n_inputs), y (n, n_outputs). Returns 0, or bits: 1 where x has NaN or infinity (y is then
// undefined), 2 where there was no memory. Several threads may run one plan.
DSNN_API int32_t dsnn_plan_run(void* plan, const float* x, float* y, int64_t n_images, int32_t n_threads);

// y of channels c: x, moved. The channels are cut into kernel_size**2 groups of n_channels / kernel_size**2, in row-major order
// of (down, right) from -(kernel_size / 2) to kernel_size / 2, and y[i][j] = x[i + down * step][j + right * step], 0 where that
// is outside; the channels that are left over are copied. x and y are (n, channels, height, width) = shape, or the same with
// the channels last in memory. kernel_size is odd; step is not 0.
DSNN_API void dsnn_spatial_shift(const float* x, float* y, const int64_t* shape, int32_t is_channels_last, int32_t kernel_size,
                                 int32_t step, int32_t n_threads);

// y = x w' * scale + bias in float32; x is (m, k), y (m, n), both contiguous; bias may be null. Returns 0, or 2 where there
// was no memory.
DSNN_API int32_t dsnn_linear_float(const float* x, float* y, int32_t m, int32_t k, int32_t n, const DsnnWeight* weight,
                                const float* scale, const float* bias, int32_t n_threads);
