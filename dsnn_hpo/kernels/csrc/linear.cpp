// A linear layer on float activations that are quantised row by row.
#include <atomic>
#include <cstring>

#include "conv.hpp"
#include "dsnn_kernels.h"
#include "isa.hpp"

namespace dsnn {
namespace {

constexpr int64_t kParallelWork = 1 << 20;  // products below which threads cost more than they save

}  // namespace
}  // namespace dsnn

int32_t dsnn_linear_int8(const float* x, float* y, int32_t m, int32_t k, int32_t n, const DsnnWeight* weight,
                         const float* scale, const float* bias, const int64_t* row_sums, int32_t n_threads) {
  using namespace dsnn;
  // A cache line more than the columns, so that rows do not all begin in the same set of the cache.
  const int64_t stride = int64_t{4} * weight->n_quads + 64;
  uint8_t* q = scratch(3, m * stride + int64_t{4} * m);
  float* row_scale = reinterpret_cast<float*>(q + m * stride);
  int64_t* correction = reinterpret_cast<int64_t*>(scratch(4, int64_t{8} * n));
  for (int32_t i = 0; i < n; ++i) correction[i] = 128 * row_sums[i];
  Conv c{};
  c.input = q;
  c.in_row = c.in_image = 0, c.in_pixel = stride;
  c.output = y;
  c.out_pixel = n;
  c.n_images = 1, c.out_h = 1, c.out_w = m;
  c.kernel_h = c.kernel_w = c.stride_h = c.stride_w = c.dilation_h = c.dilation_w = 1;
  c.groups = 1, c.in_channels = 4 * weight->n_quads, c.out_channels = n;
  c.weight = {weight->codes, weight->bits, weight->has_zero, weight->n_quads, weight->n_planes};
  c.epilogue = {scale, bias, correction, row_scale, 0.0f, 0.0f, 0, 0.0f, 0, true};
  const int threads = int64_t{m} * k * n < kParallelWork ? 1 : n_threads;
  if (threads <= 1) {
    for (int32_t i = 0; i < m; ++i)
      if (!isa().quantise_row(x + int64_t{i} * k, k, q + i * stride, &row_scale[i])) return 1;
    isa().conv(c, 0, 1);
    return 0;
  }
  std::atomic<int32_t> n_bad{0};
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (int32_t i = 0; i < m; ++i)
      if (!isa().quantise_row(x + int64_t{i} * k, k, q + i * stride, &row_scale[i])) ++n_bad;
#pragma omp for schedule(static)
    for (int part = 0; part < threads; ++part)
      if (!n_bad.load()) isa().conv(c, part, threads);
  }
  return n_bad.load() > 0;
}

void dsnn_linear_float(const float* x, float* y, int32_t m, int32_t k, int32_t n, const DsnnWeight* weight,
                       const float* scale, const float* bias, int32_t n_threads) {
  using namespace dsnn;
  FloatLinear l{x, k, y, m, n, {weight->codes, weight->bits, weight->has_zero, weight->n_quads, weight->n_planes}, scale, bias};
  if (k % 4) {
    l.x_stride = int64_t{4} * weight->n_quads;
    float* padded = reinterpret_cast<float*>(scratch(3, 4 * m * l.x_stride));
    for (int32_t i = 0; i < m; ++i) {
      std::memcpy(padded + i * l.x_stride, x + int64_t{i} * k, sizeof(float) * static_cast<size_t>(k));
      std::memset(padded + i * l.x_stride + k, 0, sizeof(float) * static_cast<size_t>(l.x_stride - k));
    }
    l.x = padded;
  }
  const int threads = int64_t{m} * k * n < kParallelWork ? 1 : n_threads;
  if (threads <= 1) return isa().float_linear(l, 0, 1);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int part = 0; part < threads; ++part) isa().float_linear(l, part, threads);
}
