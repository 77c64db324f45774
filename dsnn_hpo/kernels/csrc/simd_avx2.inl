// Pairs of 256-bit vectors.
#include <immintrin.h>

#define DSNN_INLINE static inline __attribute__((always_inline))
#define DSNN_INLINE_MEMBER inline __attribute__((always_inline))

namespace dsnn {
namespace {

constexpr int kTile = 4;       // pixels of a tile
constexpr int kBlocks = 4;     // blocks of 16 rows decoded together
constexpr int kMaxDirect = 4;  // so few pixels take the codes straight from memory
// whether dot is exact for any int8 weight too
constexpr bool kAnyIsSame = false;

struct Bytes {
  __m256i lo, hi;
};
struct Ints {
  __m256i lo, hi;
};
struct Floats {
  __m256 lo, hi;
};

DSNN_INLINE __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
DSNN_INLINE void store256(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

DSNN_INLINE Bytes load_bytes(const void* p) { return {load256(p), load256(static_cast<const char*>(p) + 32)}; }
DSNN_INLINE void store_bytes(void* p, Bytes v) {
  store256(p, v.lo);
  store256(static_cast<char*>(p) + 32, v.hi);
}
DSNN_INLINE Bytes all_bytes(int8_t v) { return {_mm256_set1_epi8(v), _mm256_set1_epi8(v)}; }
DSNN_INLINE Bytes zero_bytes() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
DSNN_INLINE Bytes bytes_and(Bytes a, Bytes b) { return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)}; }
DSNN_INLINE Bytes bytes_or(Bytes a, Bytes b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
DSNN_INLINE Bytes bytes_sub(Bytes a, Bytes b) { return {_mm256_sub_epi8(a.lo, b.lo), _mm256_sub_epi8(a.hi, b.hi)}; }
DSNN_INLINE Bytes bytes_min(Bytes a, Bytes b) { return {_mm256_min_epi8(a.lo, b.lo), _mm256_min_epi8(a.hi, b.hi)}; }
// Shifts cross from byte to byte: mask after a right one, and before a left one.
DSNN_INLINE Bytes shift_right(Bytes v, int n) { return {_mm256_srli_epi16(v.lo, n), _mm256_srli_epi16(v.hi, n)}; }
DSNN_INLINE Bytes shift_right_by(Bytes v, int n) {
  const __m128i count = _mm_cvtsi32_si128(n);
  return {_mm256_srl_epi16(v.lo, count), _mm256_srl_epi16(v.hi, count)};
}
DSNN_INLINE Bytes shift_left(Bytes v, int n) { return {_mm256_slli_epi16(v.lo, n), _mm256_slli_epi16(v.hi, n)}; }
// table[index] of 16 bytes, 0 where index is negative
DSNN_INLINE Bytes table_of(const int8_t* t) {
  const __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(t)));
  return {v, v};
}
DSNN_INLINE Bytes lookup(Bytes table, Bytes index) {
  return {_mm256_shuffle_epi8(table.lo, index.lo), _mm256_shuffle_epi8(table.hi, index.hi)};
}
DSNN_INLINE __m256i negate_where(__m256i v, __m256i code, __m256i bit) {
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(code, bit), bit);
  return _mm256_sub_epi8(_mm256_xor_si256(v, set), set);
}
// v, negated where a bit of `bit` is set in `code`
DSNN_INLINE Bytes negate_where(Bytes v, Bytes code, Bytes bit) {
  return {negate_where(v.lo, code.lo, bit.lo), negate_where(v.hi, code.hi, bit.hi)};
}

DSNN_INLINE Ints zero_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
DSNN_INLINE Ints load_ints(const int32_t* p) { return {load256(p), load256(p + 8)}; }
DSNN_INLINE void store_ints(int32_t* p, Ints v) {
  store256(p, v.lo);
  store256(p + 8, v.hi);
}
DSNN_INLINE Ints add_ints(Ints a, Ints b) { return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)}; }
DSNN_INLINE Ints sub_ints(Ints a, Ints b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
DSNN_INLINE Ints abs_ints(Ints v) { return {_mm256_abs_epi32(v.lo), _mm256_abs_epi32(v.hi)}; }
DSNN_INLINE Ints mul_ints(Ints a, Ints b) { return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)}; }
DSNN_INLINE Ints all_ints(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }

// Four activations, in every row.
using Quad = __m256i;
DSNN_INLINE Quad load_quad(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}

// Eight activations, alternating in pairs of rows; products of them need more sums than there are registers.
constexpr bool kHasPairs = false;
constexpr int kAdderTile = 3;
DSNN_INLINE Quad load_pair(const uint8_t* p) {
  int64_t v;
  __builtin_memcpy(&v, p, 8);
  return _mm256_set1_epi64x(v);
}
DSNN_INLINE Quad load_half_pair(const uint8_t* p) {
  uint32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi64x(v);
}
// Two quads of 16 rows as two vectors of 8 rows, a row's quads side by side; and the sums of such a pair, a row each.
DSNN_INLINE void interleave(Bytes* a, Bytes* b) {
  const Bytes low = {_mm256_unpacklo_epi32(a->lo, b->lo), _mm256_unpacklo_epi32(a->hi, b->hi)};
  const Bytes high = {_mm256_unpackhi_epi32(a->lo, b->lo), _mm256_unpackhi_epi32(a->hi, b->hi)};
  *a = low;
  *b = high;
}
DSNN_INLINE __m256i join(__m256i a, __m256i b) {
  const __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
  return _mm256_add_epi32(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88)),
                          _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xdd)));
}
DSNN_INLINE Ints join(Ints a, Ints b) { return {join(a.lo, b.lo), join(a.hi, b.hi)}; }
// the sum of |a - b| over the eight columns of each row
DSNN_INLINE Ints distances(Quad a, Bytes b) { return {_mm256_sad_epu8(a, b.lo), _mm256_sad_epu8(a, b.hi)}; }

// acc - |u - t| of two columns of 16 bits in each row; such a difference fits 16 bits
DSNN_INLINE __m256i sub_wide_distances(__m256i acc, __m256i t, __m256i u) {
  return _mm256_sub_epi32(acc, _mm256_madd_epi16(_mm256_abs_epi16(_mm256_sub_epi16(t, u)), _mm256_set1_epi16(1)));
}
DSNN_INLINE Ints sub_wide_distances(Ints acc, const int16_t* t, Bytes u) {
  const Quad both = load_quad(reinterpret_cast<const uint8_t*>(t));
  return {sub_wide_distances(acc.lo, both, u.lo), sub_wide_distances(acc.hi, both, u.hi)};
}

// Ends the life of a register here: what follows may move to memory, what came before stays.
DSNN_INLINE Ints settled(Ints v) {
  __asm__("" : "+x"(v.lo), "+x"(v.hi));
  return v;
}

DSNN_INLINE __m256i dot(__m256i acc, Quad a, __m256i b) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)));
}
DSNN_INLINE __m256i dot_any(__m256i acc, Quad a, __m256i b) {
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(a, _mm256_set1_epi16(0xff)),
                                         _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
  return _mm256_add_epi32(acc, _mm256_add_epi32(even, odd));
}
// acc + the sum of four products of activations and weights of magnitude at most 64
DSNN_INLINE Ints dot(Ints acc, Quad a, Bytes b) { return {dot(acc.lo, a, b.lo), dot(acc.hi, a, b.hi)}; }
// the same for weights of any int8 value, whose pairs of products do not fit 16 bits
DSNN_INLINE Ints dot_any(Ints acc, Quad a, Bytes b) { return {dot_any(acc.lo, a, b.lo), dot_any(acc.hi, a, b.hi)}; }

DSNN_INLINE Floats load_floats(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
DSNN_INLINE Floats all_floats(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
DSNN_INLINE Floats to_floats(Ints v) { return {_mm256_cvtepi32_ps(v.lo), _mm256_cvtepi32_ps(v.hi)}; }
DSNN_INLINE Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
DSNN_INLINE Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
DSNN_INLINE Floats minimum(Floats a, Floats b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
DSNN_INLINE Floats maximum(Floats a, Floats b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
DSNN_INLINE Ints round_to_ints(Floats v) { return {_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi)}; }
DSNN_INLINE void store_floats(float* p, Floats v) {
  _mm256_storeu_ps(p, v.lo);
  _mm256_storeu_ps(p + 8, v.hi);
}
// 16 values of 0 to 255
DSNN_INLINE void store_low_bytes(uint8_t* p, Ints v) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(v.lo, v.hi), 0xd8);
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}
DSNN_INLINE Ints load_low_bytes(const uint8_t* p) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
}

DSNN_INLINE Floats zero_floats() { return all_floats(0.0f); }
// acc + a * b; in one rounding or two
DSNN_INLINE Floats multiply_add(Floats acc, Floats a, Floats b) {
  return {_mm256_fmadd_ps(a.lo, b.lo, acc.lo), _mm256_fmadd_ps(a.hi, b.hi, acc.hi)};
}

// Tiles of adder layers: pixels by one block of 16 lanes, by two blocks, in the input gradient, and of powers.
constexpr int kForwardTile = 5, kForwardPairTile = 0, kGradientTile = 3, kPowerTile = 2;

DSNN_INLINE Floats sub(Floats a, Floats b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
DSNN_INLINE Floats magnitude(Floats v) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, v.lo), _mm256_andnot_ps(sign, v.hi)};
}
// A constant that the compiler does not know.
DSNN_INLINE Floats hidden(Floats v) {
  __asm__("" : "+x"(v.lo));
  return {v.lo, v.lo};
}
// a + b and a - b by the unit that multiplies; `ones` are hidden
DSNN_INLINE Floats add_on_multiplier(Floats a, Floats b, Floats ones) {
  return {_mm256_fmadd_ps(b.lo, ones.lo, a.lo), _mm256_fmadd_ps(b.hi, ones.hi, a.hi)};
}
DSNN_INLINE Floats sub_on_multiplier(Floats a, Floats b, Floats ones) {
  return {_mm256_fnmadd_ps(b.lo, ones.lo, a.lo), _mm256_fnmadd_ps(b.hi, ones.hi, a.hi)};
}
// v limited to -1 to 1; -1 for NaN
DSNN_INLINE Floats clip(Floats v, Floats ones) { return minimum(maximum(v, sub(zero_floats(), ones)), ones); }
// v, but NaN where x is
DSNN_INLINE Floats keep_nan(Floats v, Floats x) {
  return {_mm256_blendv_ps(v.lo, x.lo, _mm256_cmp_ps(x.lo, x.lo, _CMP_UNORD_Q)),
          _mm256_blendv_ps(v.hi, x.hi, _mm256_cmp_ps(x.hi, x.hi, _CMP_UNORD_Q))};
}
DSNN_INLINE Ints as_ints(Floats v) { return {_mm256_castps_si256(v.lo), _mm256_castps_si256(v.hi)}; }
DSNN_INLINE Floats as_floats(Ints v) { return {_mm256_castsi256_ps(v.lo), _mm256_castsi256_ps(v.hi)}; }
// by 23 bits, to and from the exponent's field; right with the sign
DSNN_INLINE Ints to_exponent_field(Ints v) { return {_mm256_slli_epi32(v.lo, 23), _mm256_slli_epi32(v.hi, 23)}; }
DSNN_INLINE Ints from_exponent_field(Ints v) { return {_mm256_srai_epi32(v.lo, 23), _mm256_srai_epi32(v.hi, 23)}; }
// The sum of 16 values, halves added to halves.
DSNN_INLINE float sum_of(Floats v) {
  const __m256 eight = _mm256_add_ps(v.lo, v.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// What it takes to build a float32 from a code: the exponent's field of magnitude 0, and whether that is zero instead.
struct FloatDecoder {
  __m256i first, keeps_zero;
};
DSNN_INLINE FloatDecoder make_float_decoder(const float* values) {
  const bool has_zero = values[0] == 0.0f;
  return {_mm256_set1_epi32(has_zero ? 126 : 127), _mm256_set1_epi32(has_zero ? -1 : 0)};
}
template <int BITS>
DSNN_INLINE __m256 float_values(const FloatDecoder& d, __m256i codes, int column) {
  const __m256i code = _mm256_srli_epi32(codes, 8 * column);
  const __m256i magnitude = _mm256_and_si256(code, _mm256_set1_epi32((1 << (BITS - 1)) - 1));
  const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(code, 32 - BITS), _mm256_set1_epi32(static_cast<int>(1u << 31)));
  const __m256i bits = _mm256_or_si256(sign, _mm256_slli_epi32(_mm256_add_epi32(magnitude, d.first), 23));
  const __m256i is_zero = _mm256_and_si256(d.keeps_zero, _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256()));
  return _mm256_castsi256_ps(_mm256_andnot_si256(is_zero, bits));
}
// The values of the codes in byte `column` of every row.
template <int BITS>
DSNN_INLINE Floats float_values(const FloatDecoder& d, Bytes codes, int column) {
  return {float_values<BITS>(d, codes.lo, column), float_values<BITS>(d, codes.hi, column)};
}

}  // namespace
}  // namespace dsnn
