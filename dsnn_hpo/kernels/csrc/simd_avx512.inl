// 512-bit vectors. With VNNI the sum of four products is one instruction, without it three.
#include <immintrin.h>

#define DSNN_INLINE static inline __attribute__((always_inline))
#define DSNN_INLINE_MEMBER inline __attribute__((always_inline))

namespace dsnn {
namespace {

constexpr int kTile = 8;       // pixels of a tile
constexpr int kBlocks = 4;     // blocks of 16 rows decoded together
constexpr int kMaxDirect = 8;  // so few pixels take the codes straight from memory
// whether dot is exact for any int8 weight too
#ifdef __AVX512VNNI__
constexpr bool kAnyIsSame = true;
#else
constexpr bool kAnyIsSame = false;
#endif

using Bytes = __m512i;   // 64 bytes: 16 rows by 4 columns
using Ints = __m512i;    // 16 int32, a row each
using Floats = __m512;   // 16 float32

DSNN_INLINE Bytes load_bytes(const void* p) { return _mm512_loadu_si512(p); }
DSNN_INLINE void store_bytes(void* p, Bytes v) { _mm512_storeu_si512(p, v); }
DSNN_INLINE Bytes all_bytes(int8_t v) { return _mm512_set1_epi8(v); }
DSNN_INLINE Bytes zero_bytes() { return _mm512_setzero_si512(); }
DSNN_INLINE Bytes bytes_and(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
DSNN_INLINE Bytes bytes_or(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
DSNN_INLINE Bytes bytes_sub(Bytes a, Bytes b) { return _mm512_sub_epi8(a, b); }
DSNN_INLINE Bytes bytes_min(Bytes a, Bytes b) { return _mm512_min_epi8(a, b); }
// Shifts cross from byte to byte: mask after a right one, and before a left one.
DSNN_INLINE Bytes shift_right(Bytes v, int n) { return _mm512_srli_epi16(v, n); }
DSNN_INLINE Bytes shift_right_by(Bytes v, int n) { return _mm512_srl_epi16(v, _mm_cvtsi32_si128(n)); }
DSNN_INLINE Bytes shift_left(Bytes v, int n) { return _mm512_slli_epi16(v, n); }
// table[index] of 16 bytes, 0 where index is negative
DSNN_INLINE Bytes table_of(const int8_t* t) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(t)));
}
DSNN_INLINE Bytes lookup(Bytes table, Bytes index) { return _mm512_shuffle_epi8(table, index); }
// v, negated where a bit of `bit` is set in `code`
DSNN_INLINE Bytes negate_where(Bytes v, Bytes code, Bytes bit) {
  return _mm512_mask_sub_epi8(v, _mm512_test_epi8_mask(code, bit), _mm512_setzero_si512(), v);
}

DSNN_INLINE Ints zero_ints() { return _mm512_setzero_si512(); }
DSNN_INLINE Ints load_ints(const int32_t* p) { return _mm512_loadu_si512(p); }
DSNN_INLINE void store_ints(int32_t* p, Ints v) { _mm512_storeu_si512(p, v); }
DSNN_INLINE Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
DSNN_INLINE Ints sub_ints(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
DSNN_INLINE Ints abs_ints(Ints v) { return _mm512_abs_epi32(v); }
DSNN_INLINE Ints mul_ints(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
DSNN_INLINE Ints all_ints(int32_t v) { return _mm512_set1_epi32(v); }

// Four activations, in every row.
using Quad = __m512i;
DSNN_INLINE Quad load_quad(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}

// Eight activations, alternating in pairs of rows.
constexpr bool kHasPairs = true;
constexpr int kAdderTile = 8;
DSNN_INLINE Quad load_pair(const uint8_t* p) {
  int64_t v;
  __builtin_memcpy(&v, p, 8);
  return _mm512_set1_epi64(v);
}
DSNN_INLINE Quad load_half_pair(const uint8_t* p) {
  uint32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi64(v);
}
// Two quads of 16 rows as two vectors of 8 rows, a row's quads side by side; and the sums of such a pair, a row each.
DSNN_INLINE void interleave(Bytes* a, Bytes* b) {
  const Bytes low = _mm512_unpacklo_epi32(*a, *b), high = _mm512_unpackhi_epi32(*a, *b);
  *a = low;
  *b = high;
}
DSNN_INLINE Ints join(Ints a, Ints b) {
  const __m512 x = _mm512_castsi512_ps(a), y = _mm512_castsi512_ps(b);
  return _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(x, y, 0x88)),
                          _mm512_castps_si512(_mm512_shuffle_ps(x, y, 0xdd)));
}

// the sum of |a - b| over the eight columns of each row
DSNN_INLINE Ints distances(Quad a, Bytes b) { return _mm512_sad_epu8(a, b); }

// acc - |u - t| of two columns of 16 bits in each row; such a difference fits 16 bits
DSNN_INLINE Ints sub_wide_distances(Ints acc, const int16_t* t, Bytes u) {
  const __m512i distance = _mm512_abs_epi16(_mm512_sub_epi16(load_quad(reinterpret_cast<const uint8_t*>(t)), u));
#ifdef __AVX512VNNI__
  const __m512i minus_ones = _mm512_set1_epi16(-1);
  __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(distance), "v"(minus_ones));
  return acc;
#else
  return _mm512_sub_epi32(acc, _mm512_madd_epi16(distance, _mm512_set1_epi16(1)));
#endif
}

// Ends the life of a register here: what follows may move to memory, what came before stays.
DSNN_INLINE Ints settled(Ints v) {
  __asm__("" : "+v"(v));
  return v;
}

// acc + the sum of four products of activations and weights of magnitude at most 64
DSNN_INLINE Ints dot(Ints acc, Quad a, Bytes b) {
#ifdef __AVX512VNNI__
  // GCC 12 copies the accumulators of the intrinsic around; the instruction itself adds in place.
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
  return acc;
#else
  return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), _mm512_set1_epi16(1)));
#endif
}

// the same for weights of any int8 value, whose pairs of products do not fit 16 bits
DSNN_INLINE Ints dot_any(Ints acc, Quad a, Bytes b) {
#ifdef __AVX512VNNI__
  return dot(acc, a, b);
#else
  const __m512i even = _mm512_madd_epi16(_mm512_and_si512(a, _mm512_set1_epi16(0xff)),
                                         _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8));
  const __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(a, 8), _mm512_srai_epi16(b, 8));
  return _mm512_add_epi32(acc, _mm512_add_epi32(even, odd));
#endif
}

DSNN_INLINE Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
DSNN_INLINE Floats all_floats(float v) { return _mm512_set1_ps(v); }
DSNN_INLINE Floats to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }
DSNN_INLINE Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
DSNN_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
DSNN_INLINE Floats minimum(Floats a, Floats b) { return _mm512_min_ps(a, b); }
DSNN_INLINE Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
DSNN_INLINE Ints round_to_ints(Floats v) { return _mm512_cvtps_epi32(v); }
DSNN_INLINE void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
// 16 values of 0 to 255
DSNN_INLINE void store_low_bytes(uint8_t* p, Ints v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}
DSNN_INLINE Ints load_low_bytes(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

DSNN_INLINE Floats zero_floats() { return _mm512_setzero_ps(); }
// acc + a * b; in one rounding or two
DSNN_INLINE Floats multiply_add(Floats acc, Floats a, Floats b) { return _mm512_fmadd_ps(a, b, acc); }

// Tiles of adder layers: pixels by one block of 16 lanes, by two blocks, in the input gradient, and of powers.
constexpr int kForwardTile = 12, kForwardPairTile = 10, kGradientTile = 10, kPowerTile = 8;

DSNN_INLINE Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
DSNN_INLINE Floats magnitude(Floats v) { return _mm512_abs_ps(v); }
// A constant that the compiler does not know.
DSNN_INLINE Floats hidden(Floats v) {
  __asm__("" : "+v"(v));
  return v;
}
// a + b and a - b by the unit that multiplies; `ones` are hidden
DSNN_INLINE Floats add_on_multiplier(Floats a, Floats b, Floats ones) { return _mm512_fmadd_ps(b, ones, a); }
DSNN_INLINE Floats sub_on_multiplier(Floats a, Floats b, Floats ones) { return _mm512_fnmadd_ps(b, ones, a); }
// v limited to -1 to 1; 1 for NaN
DSNN_INLINE Floats clip(Floats v, Floats ones) { return _mm512_range_ps(v, ones, 2); }
// v, but NaN where x is
DSNN_INLINE Floats keep_nan(Floats v, Floats x) { return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x); }
DSNN_INLINE Ints as_ints(Floats v) { return _mm512_castps_si512(v); }
DSNN_INLINE Floats as_floats(Ints v) { return _mm512_castsi512_ps(v); }
// by 23 bits, to and from the exponent's field; right with the sign
DSNN_INLINE Ints to_exponent_field(Ints v) { return _mm512_slli_epi32(v, 23); }
DSNN_INLINE Ints from_exponent_field(Ints v) { return _mm512_srai_epi32(v, 23); }
// The sum of 16 values, halves added to halves.
DSNN_INLINE float sum_of(Floats v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// The float32 value of every code.
struct FloatDecoder {
  __m512 table[4];
};
DSNN_INLINE FloatDecoder make_float_decoder(const float* values) {
  return {{load_floats(values), load_floats(values + 16), load_floats(values + 32), load_floats(values + 48)}};
}
// The values of the codes in byte `column` of every row.
template <int BITS>
DSNN_INLINE Floats float_values(const FloatDecoder& d, Bytes codes, int column) {
  const __m512i index = _mm512_srli_epi32(codes, 8 * column);
  if (BITS <= 4) return _mm512_permutexvar_ps(index, d.table[0]);
  const __m512 low = _mm512_permutex2var_ps(d.table[0], index, d.table[1]);
  if (BITS == 5) return low;
  const __m512 high = _mm512_permutex2var_ps(d.table[2], index, d.table[3]);
  return _mm512_mask_mov_ps(low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), high);
}

// Loads and stores of the first n of 16 values, 1 to 16; what is not loaded is 0.
DSNN_INLINE __mmask16 first_of(int n) { return static_cast<__mmask16>(0xffffu >> (16 - n)); }
DSNN_INLINE Floats load_some(const float* p, int n) { return _mm512_maskz_loadu_ps(first_of(n), p); }
DSNN_INLINE Ints load_some_bytes(const uint8_t* p, int n) {
  return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_of(n), p));
}
DSNN_INLINE void store_some(float* p, Floats v, int n) { _mm512_mask_storeu_ps(p, first_of(n), v); }
DSNN_INLINE void store_some_bytes(uint8_t* p, Ints v, int n) {
  _mm_mask_storeu_epi8(p, first_of(n), _mm512_cvtepi32_epi8(v));
}

}  // namespace
}  // namespace dsnn
