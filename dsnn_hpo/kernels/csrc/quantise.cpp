// The C ABI of the quantisers of training, and their division among threads.
#include "dsnn_kernels.h"
#include "isa.hpp"

namespace dsnn {
namespace {

// About 50 us of the slowest quantiser on one core: below it, waking threads costs more than they save.
constexpr int64_t kSerialElements = 1 << 16;

// Calls part(first, n) over all elements, in parallel where it pays; parts begin at multiples of kRandomChunk.
template <typename Part>
void in_parallel(int64_t n_elements, int32_t n_threads, Part part) {
  const int64_t n_worth = (n_elements + kSerialElements - 1) / kSerialElements;
  const int64_t n_parts = n_worth < n_threads ? n_worth : n_threads;
  if (n_parts <= 1) return part(int64_t{0}, n_elements);
  const int64_t n_chunks = (n_elements + kRandomChunk - 1) / kRandomChunk;
  const int64_t part_size = (n_chunks + n_parts - 1) / n_parts * kRandomChunk;
#pragma omp parallel for num_threads(static_cast<int>(n_parts)) schedule(static, 1)
  for (int64_t i = 0; i < n_parts; ++i) {
    const int64_t first = i * part_size;
    const int64_t n_left = n_elements - first;
    if (n_left > 0) part(first, n_left < part_size ? n_left : part_size);
  }
}

}  // namespace
}  // namespace dsnn

void dsnn_power_of_two_q(const float* weight, float* value, int64_t n, int32_t lowest, int32_t is_stochastic,
                         uint64_t seed, int32_t n_threads) {
  const auto quantise = dsnn::isa().quantise.q;
  dsnn::in_parallel(n, n_threads, [=](int64_t first, int64_t n_part) {
    quantise(weight + first, value + first, first, n_part, lowest, {is_stochastic != 0, seed});
  });
}

void dsnn_power_of_two_ps(const float* shift, const float* sign, float* value, int64_t n, int32_t lowest,
                          int32_t is_stochastic, uint64_t seed, int32_t n_threads) {
  const auto quantise = dsnn::isa().quantise.ps;
  dsnn::in_parallel(n, n_threads, [=](int64_t first, int64_t n_part) {
    quantise(shift + first, sign + first, value + first, first, n_part, lowest, {is_stochastic != 0, seed});
  });
}

void dsnn_power_of_two_ps_backward(const float* grad, const float* value, float* grad_shift, int64_t n,
                                   int32_t n_threads) {
  const auto quantise = dsnn::isa().quantise.ps_backward;
  dsnn::in_parallel(n, n_threads, [=](int64_t first, int64_t n_part) {
    quantise(grad + first, value + first, grad_shift + first, n_part);
  });
}

void dsnn_fixed_point(const float* x, float* y, int64_t n, float scale, float step, float lowest, float highest,
                      int32_t rounding, uint64_t seed, int32_t n_threads) {
  const auto quantise = dsnn::isa().quantise.fixed_point;
  const dsnn::FixedPointFormat format = {scale, step, lowest, highest};
  dsnn::in_parallel(n, n_threads, [=](int64_t first, int64_t n_part) {
    quantise(x + first, y + first, first, n_part, format, static_cast<dsnn::Rounding>(rounding), seed);
  });
}

void dsnn_relu_fixed_point(const float* x, const float* shortcut, float* rectified, float* y, uint8_t* positive,
                           int64_t n, float scale, float step, float lowest, float highest, int32_t rounding,
                           uint64_t seed, int32_t n_threads) {
  const auto quantise = dsnn::isa().quantise.relu_fixed_point;
  const dsnn::FixedPointFormat format = {scale, step, lowest, highest};
  dsnn::in_parallel(n, n_threads, [=](int64_t first, int64_t n_part) {
    const dsnn::ReluTensors part = {x + first, shortcut ? shortcut + first : nullptr,
                                    rectified ? rectified + first : nullptr, y + first, positive + first / 8};
    quantise(part, first, n_part, format, static_cast<dsnn::Rounding>(rounding), seed);
  });
}

void dsnn_relu_backward(const float* grad, const float* other, const uint8_t* positive, float* grad_x, int64_t n,
                        int32_t n_threads) {
  const auto quantise = dsnn::isa().quantise.relu_backward;
  dsnn::in_parallel(n, n_threads, [=](int64_t first, int64_t n_part) {
    quantise(grad + first, other ? other + first : nullptr, positive + first / 8, grad_x + first, n_part);
  });
}
