// The C ABI of the compiled kernels. Plain pointers and sizes; the caller checks shapes, dtypes and contiguity.
#pragma once
#include <stdint.h>

#define DSNN_API extern "C" __attribute__((visibility("default")))

// Raised whenever a signature below changes, so that a stale library is told apart from ours.
#define DSNN_ABI_VERSION 1

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
