// The small steps of a plan, written so that the compiler makes vectors of the loops over channels or pixels.

namespace dsnn {
namespace {

constexpr int kSpan = 64;  // bytes handled together

// The nearest integer, halves to even, of |y| < 2**22: the sum with 1.5 * 2**23 has no bits for fractions.
DSNN_INLINE int32_t nearest(float y) {
  const float shifted = y + 12582912.0f;
  int32_t bits;
  __builtin_memcpy(&bits, &shifted, 4);
  return bits - 0x4b400000;
}

// Takes NaN to the lower limit.
DSNN_INLINE float limited(float y, const Limits& limits) {
  y = y > limits.low ? y : limits.low;
  return y < limits.high ? y : limits.high;
}

// q of n floats that lie side by side; false where one is NaN or infinite.
bool quantise_span(const QuantiseStep& s, const float* __restrict x, int64_t n, uint8_t* __restrict q) {
  uint32_t largest = 0;
  const float factor = s.factor, offset = s.offset;
  const Limits limits = s.limits;
  const int32_t zero = s.target.zero;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + i, 4);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
    q[i] = static_cast<uint8_t>(nearest(limited(x[i] * factor + offset, limits)) + zero);
  }
  return largest < 0x7f800000;
}

// n pixels of up to four channels to words of four bytes; channels that do not exist become 0.
void interleave(const uint8_t (&planes)[4][kSpan], int n, uint8_t* __restrict out) {
  for (int i = 0; i < n; ++i) {
    const uint32_t word = planes[0][i] | static_cast<uint32_t>(planes[1][i]) << 8 |
                          static_cast<uint32_t>(planes[2][i]) << 16 | static_cast<uint32_t>(planes[3][i]) << 24;
    __builtin_memcpy(out + 4 * i, &word, 4);
  }
}

bool quantise_row_of_image(const QuantiseStep& s, int64_t image, int row) {
  const View& t = s.target;
  const int64_t plane = static_cast<int64_t>(t.height) * t.width;
  const float* x = s.x + image * t.channels * plane + static_cast<int64_t>(row) * t.width;
  uint8_t* out = t.data + image * t.image + row * t.row;
  uint8_t planes[4][kSpan] = {{0}};
  bool is_finite = true;
  for (int first = 0; first < t.width; first += kSpan) {
    const int n = t.width - first < kSpan ? t.width - first : kSpan;
    if (t.channels <= 4 && t.pixel == 4) {
      for (int c = 0; c < t.channels; ++c) is_finite &= quantise_span(s, x + c * plane + first, n, planes[c]);
      interleave(planes, n, out + 4 * static_cast<int64_t>(first));
      continue;
    }
    for (int c = 0; c < t.channels; ++c) {
      is_finite &= quantise_span(s, x + c * plane + first, n, planes[0]);
      for (int i = 0; i < n; ++i) out[(first + i) * t.pixel + c] = planes[0][i];
    }
  }
  return is_finite;
}

bool quantise_input(const QuantiseStep& s, int part, int n_parts) {
  int64_t first, end;
  bool is_finite = true;
  if (s.is_flat) {
    split(s.n_images, 1, part, n_parts, &first, &end);
    for (int64_t image = first; image < end; ++image)
      is_finite &= quantise_span(s, s.x + image * s.target.channels, s.target.channels, s.target.data + image * s.target.image);
    return is_finite;
  }
  split(static_cast<int64_t>(s.n_images) * s.target.height, 1, part, n_parts, &first, &end);
  for (int64_t i = first; i < end; ++i)
    is_finite &= quantise_row_of_image(s, i / s.target.height, static_cast<int>(i % s.target.height));
  return is_finite;
}

template <bool RESIDUAL>
DSNN_INLINE void pointwise_pixel(const PointwiseStep& s, const uint8_t* __restrict q, const uint8_t* __restrict r,
                                 uint8_t* __restrict out, int n) {
  const float* __restrict scale = s.scale;
  const float* __restrict bias = s.bias;
  const float residual_scale = s.residual_scale;
  const int32_t zero = s.source.zero, residual_zero = s.residual.zero, out_zero = s.target.zero;
  const Limits limits = s.limits;
  for (int i = 0; i < n; ++i) {
    float y = static_cast<float>(q[i] - zero) * scale[i] + bias[i];
    if (RESIDUAL) y = y + static_cast<float>(r[i] - residual_zero) * residual_scale;
    out[i] = static_cast<uint8_t>(nearest(limited(y, limits)) + out_zero);
  }
}

void pointwise(const PointwiseStep& s, int part, int n_parts) {
  int64_t first, end;
  split(static_cast<int64_t>(s.n_images) * s.target.height, 1, part, n_parts, &first, &end);
  for (int64_t i = first; i < end; ++i) {
    const int64_t image = i / s.target.height, row = i % s.target.height;
    const uint8_t* q = s.source.data + image * s.source.image + row * s.source.row;
    const uint8_t* r = s.residual.data ? s.residual.data + image * s.residual.image + row * s.residual.row : nullptr;
    uint8_t* out = s.target.data + image * s.target.image + row * s.target.row;
    for (int x = 0; x < s.target.width; ++x) {
      if (r)
        pointwise_pixel<true>(s, q + x * s.source.pixel, r + x * s.residual.pixel, out + x * s.target.pixel, s.target.channels);
      else
        pointwise_pixel<false>(s, q + x * s.source.pixel, nullptr, out + x * s.target.pixel, s.target.channels);
    }
  }
}

// One output pixel's window.
struct Window {
  const uint8_t* first;
  int64_t row, pixel;
  int n_rows, n_columns;
};

// N channels, or n of them where N is 0.
template <int N>
DSNN_INLINE void max_channels(const Window& w, int channel, int n, uint8_t* __restrict out) {
  uint8_t best[kSpan] = {0};
  for (int y = 0; y < w.n_rows; ++y)
    for (int x = 0; x < w.n_columns; ++x) {
      const uint8_t* __restrict q = w.first + y * w.row + x * w.pixel + channel;
      for (int i = 0; i < (N ? N : n); ++i) best[i] = q[i] > best[i] ? q[i] : best[i];
    }
  for (int i = 0; i < (N ? N : n); ++i) out[i] = best[i];
}

template <int N>
DSNN_INLINE void mean_channels(const PoolStep& s, const Window& w, float scale, int channel, int n, uint8_t* __restrict out) {
  int32_t sum[kSpan];
  const int32_t start = -s.source.zero * w.n_rows * w.n_columns;
  for (int i = 0; i < (N ? N : n); ++i) sum[i] = start;
  for (int y = 0; y < w.n_rows; ++y)
    for (int x = 0; x < w.n_columns; ++x) {
      const uint8_t* __restrict q = w.first + y * w.row + x * w.pixel + channel;
      for (int i = 0; i < (N ? N : n); ++i) sum[i] += q[i];
    }
  const Limits limits = s.limits;
  const float offset = s.offset;
  const int32_t zero = s.target.zero;
  for (int i = 0; i < (N ? N : n); ++i)
    out[i] = static_cast<uint8_t>(nearest(limited(static_cast<float>(sum[i]) * scale + offset, limits)) + zero);
}

template <int N>
DSNN_INLINE void pool_channels(const PoolStep& s, const Window& w, int64_t index, int channel, int n, uint8_t* out) {
  if (s.scale)
    mean_channels<N>(s, w, s.scale[index], channel, n, out);
  else
    max_channels<N>(w, channel, n, out);
}

void pool_pixel(const PoolStep& s, const Window& w, int64_t index, uint8_t* out) {
  int channel = 0;
  const int n = s.target.channels;
  for (; channel + kSpan <= n; channel += kSpan) pool_channels<kSpan>(s, w, index, channel, kSpan, out + channel);
  for (; channel + 16 <= n; channel += 16) pool_channels<16>(s, w, index, channel, 16, out + channel);
  if (channel < n) pool_channels<0>(s, w, index, channel, n - channel, out + channel);
}

void pool(const PoolStep& s, int part, int n_parts) {
  int64_t first, end;
  split(static_cast<int64_t>(s.n_images) * s.target.height, 1, part, n_parts, &first, &end);
  for (int64_t i = first; i < end; ++i) {
    const int64_t image = i / s.target.height, y = i % s.target.height;
    const int32_t top = s.rows[2 * y], bottom = s.rows[2 * y + 1];
    const uint8_t* row = s.source.data + image * s.source.image + top * s.source.row;
    uint8_t* out = s.target.data + image * s.target.image + y * s.target.row;
    for (int64_t x = 0; x < s.target.width; ++x) {
      const int32_t left = s.columns[2 * x], right = s.columns[2 * x + 1];
      const Window window = {row + left * s.source.pixel, s.source.row, s.source.pixel, bottom - top, right - left};
      pool_pixel(s, window, y * s.target.width + x, out + x * s.target.pixel);
    }
  }
}

void dequantise(const DequantiseStep& s, int part, int n_parts) {
  int64_t first, end;
  split(s.n_images, 1, part, n_parts, &first, &end);
  const View& v = s.source;
  const int64_t plane = static_cast<int64_t>(v.height) * v.width;
  for (int64_t image = first; image < end; ++image)
    for (int64_t y = 0; y < v.height; ++y)
      for (int64_t x = 0; x < v.width; ++x) {
        const uint8_t* q = v.data + image * v.image + y * v.row + x * v.pixel;
        float* out = s.y + image * v.channels * plane + y * v.width + x;
        for (int c = 0; c < v.channels; ++c) out[c * plane] = static_cast<float>(q[c] - v.zero) * s.scale;
      }
}

constexpr Steps kSteps = {quantise_input, pointwise, pool, dequantise};

}  // namespace
}  // namespace dsnn
