// Linear layers: on float activations that are quantised row by row, or as they are.
#include <atomic>
#include <cstring>
#include <new>

#include "conv.hpp"
#include "dsnn_kernels.h"
#include "isa.hpp"

namespace dsnn {
namespace {

Weight weight_of(const DsnnWeight& w) { return {w.codes, w.bits, w.has_zero, w.n_quads, w.n_planes, Operation::kProduct, nullptr}; }

// A linear layer on rows of 8 bits, `stride` bytes apart, with zero point 128.
Conv conv_of(const uint8_t* q, int64_t stride, float* y, int32_t m, int32_t n, const DsnnWeight& weight) {
  Conv c{};
  c.input = q;
  c.in_pixel = stride;
  c.output = y;
  c.out_pixel = n;
  c.n_images = 1, c.out_h = 1, c.out_w = m;
  c.kernel_h = c.kernel_w = c.stride_h = c.stride_w = c.dilation_h = c.dilation_w = 1;
  c.groups = 1, c.in_channels = 4 * weight.n_quads, c.out_channels = n;
  c.weight = weight_of(weight);
  return c;
}

// The result of a part: 0, kNotFinite or kNoMemory. An exception must not leave a parallel region.
template <typename Work>
int32_t status_of(const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

}  // namespace
}  // namespace dsnn

int32_t dsnn_linear_int8(const float* x, float* y, int32_t m, int32_t k, int32_t n, const DsnnWeight* weight,
                         const float* scale, const float* bias, const int64_t* row_sums, int32_t n_threads) {
  using namespace dsnn;
  return status_of([&]() -> int32_t {
    // A cache line more than the columns, so that rows do not all begin in the same set of the cache.
    const int64_t stride = int64_t{4} * weight->n_quads + 64;
    uint8_t* q = scratch(3, m * stride + int64_t{4} * m);
    float* row_scale = reinterpret_cast<float*>(q + m * stride);
    int64_t* correction = reinterpret_cast<int64_t*>(scratch(4, int64_t{8} * n));
    for (int32_t i = 0; i < n; ++i) correction[i] = 128 * row_sums[i];
    Conv c = conv_of(q, stride, y, m, n, *weight);
    c.epilogue = {scale, bias, correction, row_scale, 0.0f, 0.0f, 0, 0.0f, 0, true};
    const int threads = int64_t{m} * k * n < kParallelWork || n_threads < 1 ? 1 : n_threads;
    std::atomic<int32_t> status{0};
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
      for (int32_t i = 0; i < m; ++i)
        if (!isa().quantise_row(x + int64_t{i} * k, k, q + i * stride, &row_scale[i])) status = kNotFinite;
#pragma omp for schedule(static)
      for (int part = 0; part < threads; ++part) {
        if (status.load()) continue;
        const int32_t result = status_of([&] {
          isa().conv(c, part, threads);
          return 0;
        });
        if (result) status = result;
      }
    }
    return status.load();
  });
}

int32_t dsnn_linear_float(const float* x, float* y, int32_t m, int32_t k, int32_t n, const DsnnWeight* weight,
                          const float* scale, const float* bias, int32_t n_threads) {
  using namespace dsnn;
  return status_of([&]() -> int32_t {
    FloatLinear l{x, k, y, m, n, weight_of(*weight), scale, bias};
    if (k % 4) {
      l.x_stride = int64_t{4} * weight->n_quads;
      float* padded = reinterpret_cast<float*>(scratch(3, 4 * m * l.x_stride));
      for (int32_t i = 0; i < m; ++i) {
        std::memcpy(padded + i * l.x_stride, x + int64_t{i} * k, sizeof(float) * static_cast<size_t>(k));
        std::memset(padded + i * l.x_stride + k, 0, sizeof(float) * static_cast<size_t>(l.x_stride - k));
      }
      l.x = padded;
    }
    const int threads = int64_t{m} * k * n < kParallelWork || n_threads < 1 ? 1 : n_threads;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int part = 0; part < threads; ++part) isa().float_linear(l, part, threads);
    return 0;
  });
}
