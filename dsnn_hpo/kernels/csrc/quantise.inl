// One-pass quantisers: the reference's float32 operations, element by element, so that every instruction set rounds alike.
// Plain loops that the compiler vectorises; only the random numbers need intrinsics, for the 32x32 to 64-bit products.
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "quantise.hpp"

namespace dsnn {
namespace {

constexpr uint32_t kPhiloxM0 = 0xD2511F53u;
constexpr uint32_t kPhiloxM1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u;
constexpr uint32_t kPhiloxW1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

inline uint32_t bits_of(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// Uniform in [0, 1), a multiple of 2**-24.
inline float uniform(uint32_t random) { return static_cast<float>(static_cast<int32_t>(random >> 8)) * 0x1p-24f; }

// Fills `random` with the numbers of elements `first` to `first + kRandomChunk` of a stream: element i is word i % 4 of
// Philox4x32-10 at the counter (i / 4, stream) under the key `seed`. A 32-bit word lies in a 64-bit lane, whose upper
// half the multiplications ignore.
#if defined(__AVX512F__)
inline void fill_random(uint32_t* random, int64_t first, uint32_t stream, uint64_t seed) {
  const __m512i m0 = _mm512_set1_epi64(kPhiloxM0), m1 = _mm512_set1_epi64(kPhiloxM1);
  const __m512i low_half = _mm512_set1_epi64(0xFFFFFFFF);
  const __m512i interleave_low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  const __m512i interleave_high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  const __m512i lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  __m512i keys[kPhiloxRounds][2];
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < kPhiloxRounds; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
    keys[round][0] = _mm512_set1_epi64(k0);
    keys[round][1] = _mm512_set1_epi64(k1);
  }
  for (int64_t i = 0; i < kRandomChunk; i += 32) {
    const __m512i counter = _mm512_add_epi64(_mm512_set1_epi64((first + i) / 4), lanes);
    __m512i c0 = counter, c1 = _mm512_srli_epi64(counter, 32), c2 = _mm512_set1_epi64(stream), c3 = _mm512_setzero_si512();
#pragma GCC unroll 10
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const __m512i p0 = _mm512_mul_epu32(c0, m0), p1 = _mm512_mul_epu32(c2, m1);
      c0 = _mm512_xor_si512(_mm512_xor_si512(_mm512_srli_epi64(p1, 32), c1), keys[round][0]);
      c2 = _mm512_xor_si512(_mm512_xor_si512(_mm512_srli_epi64(p0, 32), c3), keys[round][1]);
      c1 = p1;
      c3 = p0;
    }
    const __m512i c01 = _mm512_or_si512(_mm512_and_si512(c0, low_half), _mm512_slli_epi64(c1, 32));
    const __m512i c23 = _mm512_or_si512(_mm512_and_si512(c2, low_half), _mm512_slli_epi64(c3, 32));
    _mm512_storeu_si512(random + i, _mm512_permutex2var_epi64(c01, interleave_low, c23));
    _mm512_storeu_si512(random + i + 16, _mm512_permutex2var_epi64(c01, interleave_high, c23));
  }
}
#elif defined(__AVX2__)
inline void fill_random(uint32_t* random, int64_t first, uint32_t stream, uint64_t seed) {
  const __m256i m0 = _mm256_set1_epi64x(kPhiloxM0), m1 = _mm256_set1_epi64x(kPhiloxM1);
  const __m256i low_half = _mm256_set1_epi64x(0xFFFFFFFF);
  // Unpacking works in halves of 128 bits: with the counters in this order its results are in the elements' order.
  const __m256i lanes = _mm256_setr_epi64x(0, 2, 1, 3);
  __m256i keys[kPhiloxRounds][2];
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < kPhiloxRounds; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
    keys[round][0] = _mm256_set1_epi64x(k0);
    keys[round][1] = _mm256_set1_epi64x(k1);
  }
  for (int64_t i = 0; i < kRandomChunk; i += 16) {
    const __m256i counter = _mm256_add_epi64(_mm256_set1_epi64x((first + i) / 4), lanes);
    __m256i c0 = counter, c1 = _mm256_srli_epi64(counter, 32), c2 = _mm256_set1_epi64x(stream), c3 = _mm256_setzero_si256();
#pragma GCC unroll 10
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const __m256i p0 = _mm256_mul_epu32(c0, m0), p1 = _mm256_mul_epu32(c2, m1);
      c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p1, 32), c1), keys[round][0]);
      c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(p0, 32), c3), keys[round][1]);
      c1 = p1;
      c3 = p0;
    }
    const __m256i c01 = _mm256_or_si256(_mm256_and_si256(c0, low_half), _mm256_slli_epi64(c1, 32));
    const __m256i c23 = _mm256_or_si256(_mm256_and_si256(c2, low_half), _mm256_slli_epi64(c3, 32));
    // lanes 0, 2 | 1, 3: unpacking low gives counters 0 | 1, high 2 | 3
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(random + i), _mm256_unpacklo_epi64(c01, c23));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(random + i + 8), _mm256_unpackhi_epi64(c01, c23));
  }
}
#else
inline void fill_random(uint32_t* random, int64_t first, uint32_t stream, uint64_t seed) {
  for (int64_t i = 0; i < kRandomChunk; i += 4) {
    const uint64_t counter = static_cast<uint64_t>(first + i) / 4;
    uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = stream, c3 = 0;
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < kPhiloxRounds; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
      const uint64_t p0 = static_cast<uint64_t>(c0) * kPhiloxM0, p1 = static_cast<uint64_t>(c2) * kPhiloxM1;
      c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(p1);
      c3 = static_cast<uint32_t>(p0);
    }
    random[i] = c0;
    random[i + 1] = c1;
    random[i + 2] = c2;
    random[i + 3] = c3;
  }
}
#endif

// Calls chunk(begin, end) over 0..n by pieces that have their random numbers at hand.
template <typename Chunk>
inline void in_chunks(int64_t n, Chunk chunk) {
  for (int64_t begin = 0; begin < n; begin += kRandomChunk) {
    chunk(begin, n - begin < kRandomChunk ? n - begin : kRandomChunk);
  }
}

// log2(1 + t), t in [0, 1), up to 2e-7: the polynomial of `log2_of_mantissa` in kernels/power_of_two.py, in its order.
inline float log2_of_mantissa(float t) {
  float sum = 0x1.f0b4d4p-8f;
  sum = sum * t + -0x1.5db188p-5f;
  sum = sum * t + 0x1.cf0f9ap-4f;
  sum = sum * t + -0x1.940a46p-3f;
  sum = sum * t + 0x1.1a5642p-2f;
  sum = sum * t + -0x1.6f07e0p-2f;
  sum = sum * t + 0x1.ec3b70p-2f;
  sum = sum * t + -0x1.715386p-1f;
  sum = sum * t + 0x1.715476p+0f;
  return sum * t;
}

constexpr uint32_t kMagnitude = 0x7FFFFFFFu;
constexpr uint32_t kInfinity = 0x7F800000u;
constexpr uint32_t kOne = 0x3F800000u;
constexpr uint32_t kSmallestNormal = 0x00800000u;
// What carries a fraction above that of sqrt(2) over into the exponent.
constexpr uint32_t kRoundAtSqrt2 = 0x004AFB0Cu;
// The least subnormal float above sqrt(2) * 2**-127; 2**-127 itself is half the smallest normal number.
constexpr uint32_t kSubnormalRoundsUp = 0x005A827Au;

inline uint32_t limited_magnitude(uint32_t bits, uint32_t lowest_bits) {
  uint32_t magnitude = bits & kMagnitude;
  magnitude = magnitude < lowest_bits ? lowest_bits : magnitude;
  return magnitude > kOne ? kOne : magnitude;
}

// The rounded magnitude with the sign of the weight: plus for zeros; a NaN stays as it is.
inline float with_sign(uint32_t rounded, uint32_t bits) {
  const uint32_t magnitude = bits & kMagnitude;
  const uint32_t sign = magnitude ? bits & ~kMagnitude : 0;
  return float_of(magnitude > kInfinity ? bits : rounded | sign);
}

inline uint32_t lowest_power_bits(int32_t lowest) {
  return lowest < -126 ? kSmallestNormal >> (-126 - lowest) : static_cast<uint32_t>(127 + lowest) << 23;
}

void q_deterministic(const float* __restrict weight, float* __restrict value, int64_t n, uint32_t lowest_bits) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = bits_of(weight[i]);
    const uint32_t magnitude = limited_magnitude(bits, lowest_bits);
    const uint32_t normal = (magnitude + kRoundAtSqrt2) & kInfinity;
    const uint32_t subnormal = magnitude < kSubnormalRoundsUp ? kSmallestNormal / 2 : kSmallestNormal;
    value[i] = with_sign(magnitude < kSmallestNormal ? subnormal : normal, bits);
  }
}

void q_stochastic(const float* __restrict weight, float* __restrict value, int64_t n, uint32_t lowest_bits,
                  const uint32_t* __restrict random) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = bits_of(weight[i]);
    const uint32_t magnitude = limited_magnitude(bits, lowest_bits);
    // A subnormal magnitude is at least half the smallest normal number: doubled, it has the fraction of one.
    const bool is_subnormal = magnitude < kSmallestNormal;
    const uint32_t fraction = (is_subnormal ? magnitude << 1 : magnitude) & (kSmallestNormal - 1);
    const bool rounds_up = uniform(random[i]) < log2_of_mantissa(float_of(kOne | fraction) - 1.0f);
    const uint32_t below = is_subnormal ? kSmallestNormal / 2 : magnitude & kInfinity;
    const uint32_t step = is_subnormal ? kSmallestNormal / 2 : kSmallestNormal;
    value[i] = with_sign(rounds_up ? below + step : below, bits);
  }
}

void quantise_q(const float* weight, float* value, int64_t first, int64_t n, int32_t lowest, Randomness randomness) {
  const uint32_t lowest_bits = lowest_power_bits(lowest);
  if (!randomness.is_stochastic) return q_deterministic(weight, value, n, lowest_bits);
  uint32_t random[kRandomChunk];
  in_chunks(n, [&](int64_t begin, int64_t length) {
    fill_random(random, first + begin, 0, randomness.seed);
    q_stochastic(weight + begin, value + begin, length, lowest_bits, random);
  });
}

// NaN becomes `lowest`, so that the conversion to an integer is defined; `ps_value` puts it back.
inline float limited_shift(float shift, float lowest) {
  const float raised = shift > lowest ? shift : lowest;
  return raised < 0.0f ? raised : 0.0f;
}

// 2**exponent with a sign of -1, 0 or 1 (`sign` above, below or between the two); NaN if shift or sign is.
inline float ps_value(float exponent, bool is_positive, bool is_negative, float shift, float sign) {
  const uint32_t power = static_cast<uint32_t>(127 + static_cast<int32_t>(exponent)) << 23;
  const uint32_t signed_power = is_positive ? power : (is_negative ? power | ~kMagnitude : 0);
  const bool is_nan = shift != shift || sign != sign;
  return float_of(is_nan ? 0x7FC00000u : signed_power);
}

void ps_deterministic(const float* __restrict shift, const float* __restrict sign, float* __restrict value, int64_t n,
                      float lowest) {
  for (int64_t i = 0; i < n; ++i) {
    const float exponent = __builtin_rintf(limited_shift(shift[i], lowest));
    // The nearest integer, halves to even, is above 0 exactly above 1/2.
    value[i] = ps_value(exponent, sign[i] > 0.5f, sign[i] < -0.5f, shift[i], sign[i]);
  }
}

void ps_stochastic(const float* __restrict shift, const float* __restrict sign, float* __restrict value, int64_t n,
                   float lowest, const uint32_t* __restrict random_shift, const uint32_t* __restrict random_sign) {
  for (int64_t i = 0; i < n; ++i) {
    const float limited = limited_shift(shift[i], lowest);
    const float shift_below = __builtin_floorf(limited);
    const float exponent = shift_below + (uniform(random_shift[i]) < limited - shift_below ? 1.0f : 0.0f);
    const float sign_below = __builtin_floorf(sign[i]);
    const float rounded = sign_below + (uniform(random_sign[i]) < sign[i] - sign_below ? 1.0f : 0.0f);
    value[i] = ps_value(exponent, rounded > 0.0f, rounded < 0.0f, shift[i], sign[i]);
  }
}

void quantise_ps(const float* shift, const float* sign, float* value, int64_t first, int64_t n, int32_t lowest,
                 Randomness randomness) {
  const float lowest_shift = static_cast<float>(lowest);
  if (!randomness.is_stochastic) return ps_deterministic(shift, sign, value, n, lowest_shift);
  uint32_t random_shift[kRandomChunk], random_sign[kRandomChunk];
  in_chunks(n, [&](int64_t begin, int64_t length) {
    fill_random(random_shift, first + begin, 0, randomness.seed);
    fill_random(random_sign, first + begin, 1, randomness.seed);
    ps_stochastic(shift + begin, sign + begin, value + begin, length, lowest_shift, random_shift, random_sign);
  });
}

void quantise_ps_backward(const float* __restrict grad, const float* __restrict value, float* __restrict grad_shift,
                          int64_t n) {
  constexpr float kLn2 = 0x1.62e430p-1f;
  for (int64_t i = 0; i < n; ++i) grad_shift[i] = grad[i] * value[i] * kLn2;
}

inline float limited(float value, const FixedPointFormat& format) {
  // In this form a NaN, which compares false, stays.
  value = format.lowest > value ? format.lowest : value;
  return format.highest < value ? format.highest : value;
}

void fixed_point_floor(const float* __restrict x, float* __restrict y, int64_t n, FixedPointFormat format) {
  for (int64_t i = 0; i < n; ++i) y[i] = limited(__builtin_floorf(x[i] * format.scale) * format.step, format);
}

void fixed_point_nearest(const float* __restrict x, float* __restrict y, int64_t n, FixedPointFormat format) {
  for (int64_t i = 0; i < n; ++i) y[i] = limited(__builtin_rintf(x[i] * format.scale) * format.step, format);
}

void fixed_point_stochastic(const float* __restrict x, float* __restrict y, int64_t n, FixedPointFormat format,
                            const uint32_t* __restrict random) {
  for (int64_t i = 0; i < n; ++i) {
    const float scaled = x[i] * format.scale;
    const float below = __builtin_floorf(scaled);
    const float rounded = below + (uniform(random[i]) < scaled - below ? 1.0f : 0.0f);
    y[i] = limited(rounded * format.step, format);
  }
}

void quantise_fixed_point(const float* x, float* y, int64_t first, int64_t n, FixedPointFormat format,
                          Rounding rounding, uint64_t seed) {
  if (rounding == Rounding::kFloor) return fixed_point_floor(x, y, n, format);
  if (rounding == Rounding::kNearest) return fixed_point_nearest(x, y, n, format);
  uint32_t random[kRandomChunk];
  in_chunks(n, [&](int64_t begin, int64_t length) {
    fill_random(random, first + begin, 0, seed);
    fixed_point_stochastic(x + begin, y + begin, length, format, random);
  });
}

// A NaN counts as positive, as in torch.
inline bool is_positive(float x) { return !(x <= 0.0f); }

// Bit j of the result: whether x[j] is positive, for 8 elements.
inline uint8_t positive_of_8(const float* x) {
#if defined(__AVX2__)
  return static_cast<uint8_t>(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_setzero_ps(), _CMP_NLE_UQ)));
#else
  uint8_t bits = 0;
  for (int j = 0; j < 8; ++j) bits = static_cast<uint8_t>(bits | is_positive(x[j]) << j);
  return bits;
#endif
}

inline void relu_backward_of_8(const float* grad, uint8_t positive, float* grad_x) {
#if defined(__AVX2__)
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i passes = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(positive), bits), bits);
  _mm256_storeu_ps(grad_x, _mm256_and_ps(_mm256_loadu_ps(grad), _mm256_castsi256_ps(passes)));
#else
  for (int j = 0; j < 8; ++j) grad_x[j] = positive >> j & 1 ? grad[j] : 0.0f;
#endif
}

void positive_bits(const float* x, uint8_t* bits, int64_t n) {
  const int64_t n_whole = n / 8;
  for (int64_t i = 0; i < n_whole; ++i) bits[i] = positive_of_8(x + i * 8);
  if (n % 8) bits[n_whole] = 0;
  for (int64_t i = n_whole * 8; i < n; ++i) {
    bits[n_whole] = static_cast<uint8_t>(bits[n_whole] | is_positive(x[i]) << i % 8);
  }
}

void add(const float* __restrict a, const float* __restrict b, float* __restrict sum, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] = a[i] + b[i];
}

// As in torch, -0 and NaN stay.
void relu(const float* __restrict x, float* __restrict rectified, int64_t n) {
  for (int64_t i = 0; i < n; ++i) rectified[i] = x[i] < 0.0f ? 0.0f : x[i];
}

void quantise_relu_fixed_point(const ReluTensors& tensors, int64_t first, int64_t n, FixedPointFormat format,
                               Rounding rounding, uint64_t seed) {
  float sum[kRandomChunk], scratch[kRandomChunk];
  in_chunks(n, [&](int64_t begin, int64_t length) {
    const float* x = tensors.x + begin;
    if (tensors.shortcut) {
      add(x, tensors.shortcut + begin, sum, length);
      x = sum;
    }
    float* const rectified = tensors.shortcut ? tensors.rectified + begin : scratch;
    positive_bits(x, tensors.positive + begin / 8, length);
    relu(x, rectified, length);
    quantise_fixed_point(rectified, tensors.y + begin, first + begin, length, format, rounding, seed);
  });
}

void quantise_relu_backward(const float* grad, const float* other, const uint8_t* positive, float* grad_x, int64_t n) {
  float sum[kRandomChunk];
  in_chunks(n, [&](int64_t begin, int64_t length) {
    const float* total = grad + begin;
    if (other) {
      add(total, other + begin, sum, length);
      total = sum;
    }
    const uint8_t* const bits = positive + begin / 8;
    float* const to = grad_x + begin;
    const int64_t n_whole = length / 8;
    for (int64_t i = 0; i < n_whole; ++i) relu_backward_of_8(total + i * 8, bits[i], to + i * 8);
    for (int64_t i = n_whole * 8; i < length; ++i) to[i] = bits[n_whole] >> i % 8 & 1 ? total[i] : 0.0f;
  });
}

constexpr Quantise kQuantise = {quantise_q,           quantise_ps,               quantise_ps_backward,
                                quantise_fixed_point, quantise_relu_fixed_point, quantise_relu_backward};

}  // namespace
}  // namespace dsnn
