// The same operations on the compiler's own vectors, for any processor.
#define DSNN_INLINE static inline __attribute__((always_inline))
#define DSNN_INLINE_MEMBER inline __attribute__((always_inline))

namespace dsnn {
namespace {

constexpr int kTile = 1;       // pixels of a tile
constexpr int kBlocks = 1;     // blocks of 16 rows decoded together
constexpr int kMaxDirect = 0;  // so few pixels take the codes straight from memory
// whether dot is exact for any int8 weight too
constexpr bool kAnyIsSame = true;

typedef uint8_t Bytes __attribute__((vector_size(64)));
typedef int8_t SignedBytes __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));

template <typename V>
DSNN_INLINE V load_any(const void* p) {
  V v;
  __builtin_memcpy(&v, p, 64);
  return v;
}

DSNN_INLINE Bytes load_bytes(const void* p) { return load_any<Bytes>(p); }
DSNN_INLINE void store_bytes(void* p, Bytes v) { __builtin_memcpy(p, &v, 64); }
DSNN_INLINE Bytes all_bytes(int8_t v) { return Bytes{} + static_cast<uint8_t>(v); }
DSNN_INLINE Bytes zero_bytes() { return Bytes{}; }
DSNN_INLINE Bytes bytes_and(Bytes a, Bytes b) { return a & b; }
DSNN_INLINE Bytes bytes_or(Bytes a, Bytes b) { return a | b; }
DSNN_INLINE Bytes bytes_sub(Bytes a, Bytes b) { return a - b; }
DSNN_INLINE Bytes bytes_min(Bytes a, Bytes b) {
  const Bytes less = (Bytes)((SignedBytes)a < (SignedBytes)b);
  return (a & less) | (b & ~less);
}
DSNN_INLINE Bytes shift_right(Bytes v, int n) { return v >> n; }
DSNN_INLINE Bytes shift_right_by(Bytes v, int n) { return v >> n; }
DSNN_INLINE Bytes shift_left(Bytes v, int n) { return v << n; }
// table[index] of 16 bytes, 0 where index is negative
DSNN_INLINE Bytes table_of(const int8_t* t) {
  Bytes v;
  for (int i = 0; i < 64; i += 16) __builtin_memcpy(reinterpret_cast<uint8_t*>(&v) + i, t, 16);
  return v;
}
static __attribute__((noinline)) void lookup_all(const uint8_t* table, const uint8_t* index, uint8_t* out) {
  for (int i = 0; i < 64; ++i) out[i] = index[i] & 0x80 ? 0 : table[index[i] & 15];
}
DSNN_INLINE Bytes lookup(Bytes table, Bytes index) {
  Bytes v;
  lookup_all(reinterpret_cast<const uint8_t*>(&table), reinterpret_cast<const uint8_t*>(&index),
             reinterpret_cast<uint8_t*>(&v));
  return v;
}
// v, negated where a bit of `bit` is set in `code`
DSNN_INLINE Bytes negate_where(Bytes v, Bytes code, Bytes bit) {
  const Bytes set = (Bytes)((code & bit) != 0);
  return (v ^ set) - set;
}

DSNN_INLINE Ints all_ints(int32_t v) { return Ints{} + v; }
DSNN_INLINE Ints zero_ints() { return Ints{}; }
DSNN_INLINE Ints load_ints(const int32_t* p) { return load_any<Ints>(p); }
DSNN_INLINE void store_ints(int32_t* p, Ints v) { __builtin_memcpy(p, &v, 64); }
// Sums may wrap, as those of the vector instructions do; signed overflow would be undefined.
DSNN_INLINE Ints add_ints(Ints a, Ints b) { return (Ints)((Words)a + (Words)b); }
DSNN_INLINE Ints sub_ints(Ints a, Ints b) { return (Ints)((Words)a - (Words)b); }
DSNN_INLINE Ints abs_ints(Ints v) { return v < 0 ? -v : v; }
DSNN_INLINE Ints mul_ints(Ints a, Ints b) { return (Ints)((Words)a * (Words)b); }

// Four activations, in every row.
struct Quad {
  int32_t v[4];
};
DSNN_INLINE Quad load_quad(const uint8_t* p) { return {{p[0], p[1], p[2], p[3]}}; }

// acc - |u - t| of two columns of 16 bits in each row; such a difference fits 16 bits
static __attribute__((noinline)) void wide_distances_of(const int16_t* t, const int16_t* u, int32_t* out) {
  for (int row = 0; row < 16; ++row) {
    const int32_t first = t[0] - u[2 * row], second = t[1] - u[2 * row + 1];
    out[row] = (first < 0 ? -first : first) + (second < 0 ? -second : second);
  }
}
DSNN_INLINE Ints sub_wide_distances(Ints acc, const int16_t* t, Bytes u) {
  int16_t words[32];
  __builtin_memcpy(words, &u, 64);
  int32_t distances[16];
  wide_distances_of(t, words, distances);
  return sub_ints(acc, load_ints(distances));
}

DSNN_INLINE Ints settled(Ints v) { return v; }

// Eight activations, in every row; products of them need more sums than there are registers.
constexpr bool kHasPairs = false;
constexpr int kAdderTile = 1;
struct Pair {
  uint8_t v[8];
};
DSNN_INLINE Pair load_pair(const uint8_t* p) {
  Pair pair;
  __builtin_memcpy(&pair, p, 8);
  return pair;
}
DSNN_INLINE Pair load_half_pair(const uint8_t* p) {
  Pair pair = {{0}};
  __builtin_memcpy(&pair, p, 4);
  return pair;
}
// Two quads of 16 rows as two vectors of 8 rows, a row's quads side by side; and the sums of such a pair, a row each.
DSNN_INLINE void interleave(Bytes* a, Bytes* b) {
  const Words x = (Words)*a, y = (Words)*b;
  const Words low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
  *a = (Bytes)__builtin_shuffle(x, y, low);
  *b = (Bytes)__builtin_shuffle(x, y, low + 8);
}
DSNN_INLINE Ints join(Ints a, Ints b) {
  const Ints even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  return add_ints(__builtin_shuffle(a, b, even), __builtin_shuffle(a, b, even + 1));
}
// the sum of |a - b| over the eight columns of each row
static __attribute__((noinline)) void distances_of(const uint8_t* a, const uint8_t* b, int32_t* out) {
  for (int row = 0; row < 8; ++row) {
    int32_t sum = 0;
    for (int i = 0; i < 8; ++i) sum += a[i] > b[8 * row + i] ? a[i] - b[8 * row + i] : b[8 * row + i] - a[i];
    out[2 * row] = sum;
    out[2 * row + 1] = 0;
  }
}
DSNN_INLINE Ints distances(Pair a, Bytes b) {
  Ints v;
  distances_of(a.v, reinterpret_cast<const uint8_t*>(&b), reinterpret_cast<int32_t*>(&v));
  return v;
}

// acc + the sum of four products
DSNN_INLINE Ints dot(Ints acc, Quad a, Bytes b) {
  const Words w = (Words)b;
  const Ints sum = a.v[0] * ((Ints)(w << 24) >> 24) + a.v[1] * ((Ints)(w << 16) >> 24) +
                   a.v[2] * ((Ints)(w << 8) >> 24) + a.v[3] * ((Ints)w >> 24);
  return add_ints(acc, sum);
}
DSNN_INLINE Ints dot_any(Ints acc, Quad a, Bytes b) { return dot(acc, a, b); }

DSNN_INLINE Floats load_floats(const float* p) { return load_any<Floats>(p); }
DSNN_INLINE Floats all_floats(float v) { return Floats{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }
DSNN_INLINE Floats to_floats(Ints v) { return __builtin_convertvector(v, Floats); }
DSNN_INLINE Floats mul(Floats a, Floats b) { return a * b; }
DSNN_INLINE Floats add(Floats a, Floats b) { return a + b; }
// Comparisons of vectors longer than the processor's fall apart into single values; those of four are whole everywhere.
typedef float Four __attribute__((vector_size(16)));
template <typename Choose>
DSNN_INLINE Floats by_fours(Floats a, Floats b, const Choose& choose) {
  Four x[4], y[4];
  __builtin_memcpy(x, &a, 64);
  __builtin_memcpy(y, &b, 64);
  for (int i = 0; i < 4; ++i) x[i] = choose(x[i], y[i]);
  __builtin_memcpy(&a, x, 64);
  return a;
}
DSNN_INLINE Floats minimum(Floats a, Floats b) {
  return by_fours(a, b, [](Four p, Four q) __attribute__((always_inline)) { return p < q ? p : q; });
}
DSNN_INLINE Floats maximum(Floats a, Floats b) {
  return by_fours(a, b, [](Four p, Four q) __attribute__((always_inline)) { return p > q ? p : q; });
}
DSNN_INLINE void store_floats(float* p, Floats v) { __builtin_memcpy(p, &v, 64); }
static __attribute__((noinline)) void round_all(const float* v, int32_t* out) {
  for (int i = 0; i < 16; ++i) out[i] = static_cast<int32_t>(__builtin_rintf(v[i]));
}
DSNN_INLINE Ints round_to_ints(Floats v) {
  Ints r;
  round_all(reinterpret_cast<const float*>(&v), reinterpret_cast<int32_t*>(&r));
  return r;
}
// 16 values of 0 to 255
DSNN_INLINE void store_low_bytes(uint8_t* p, Ints v) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<uint8_t>(v[i]);
}
DSNN_INLINE Ints load_low_bytes(const uint8_t* p) {
  Ints v;
  for (int i = 0; i < 16; ++i) v[i] = p[i];
  return v;
}

DSNN_INLINE Floats zero_floats() { return Floats{}; }
// acc + a * b; in one rounding or two
DSNN_INLINE Floats multiply_add(Floats acc, Floats a, Floats b) { return acc + a * b; }

// Tiles of adder layers: pixels by one block of 16 lanes, by two blocks, in the input gradient, and of powers.
constexpr int kForwardTile = 2, kForwardPairTile = 0, kGradientTile = 1, kPowerTile = 1;

DSNN_INLINE Floats sub(Floats a, Floats b) { return a - b; }
DSNN_INLINE Floats magnitude(Floats v) { return (Floats)((Ints)v & 0x7fffffff); }
// Tricks of vector instructions.
DSNN_INLINE Floats hidden(Floats v) { return v; }
DSNN_INLINE Floats add_on_multiplier(Floats a, Floats b, Floats) { return a + b; }
DSNN_INLINE Floats sub_on_multiplier(Floats a, Floats b, Floats) { return a - b; }
// v limited to -1 to 1; 1 for NaN
DSNN_INLINE Floats clip(Floats v, Floats ones) {
  return by_fours(v, ones, [](Four p, Four one) __attribute__((always_inline)) {
    const Four at_least = p > -one ? p : -one;
    return at_least < one ? at_least : one;
  });
}
// v, but NaN where x is
DSNN_INLINE Floats keep_nan(Floats v, Floats x) { return x == x ? v : x; }
DSNN_INLINE Ints as_ints(Floats v) { return (Ints)v; }
DSNN_INLINE Floats as_floats(Ints v) { return (Floats)v; }
// by 23 bits, to and from the exponent's field; right with the sign
DSNN_INLINE Ints to_exponent_field(Ints v) { return (Ints)((Words)v << 23); }
DSNN_INLINE Ints from_exponent_field(Ints v) { return v >> 23; }
// The sum of 16 values, halves added to halves.
DSNN_INLINE float sum_of(Floats v) {
  float values[16];
  __builtin_memcpy(values, &v, 64);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) values[i] += values[i + half];
  return values[0];
}

// The float32 value of every code.
struct FloatDecoder {
  const float* values;
};
DSNN_INLINE FloatDecoder make_float_decoder(const float* values) { return {values}; }
// The values of the codes in byte `column` of every row.
static __attribute__((noinline)) void float_values_of(const float* values, const uint8_t* codes, float* out) {
  for (int i = 0; i < 16; ++i) out[i] = values[codes[4 * i]];
}
template <int BITS>
DSNN_INLINE Floats float_values(const FloatDecoder& d, Bytes codes, int column) {
  Floats v;
  float_values_of(d.values, reinterpret_cast<const uint8_t*>(&codes) + column, reinterpret_cast<float*>(&v));
  return v;
}

}  // namespace
}  // namespace dsnn
