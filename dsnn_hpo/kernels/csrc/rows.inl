// Float rows to 8 bits.

namespace dsnn {
namespace {

constexpr uint32_t kInfinityBits = 0x7f800000;
constexpr float kSmallest = 0x1p-119f;  // 127 / max|x| of smaller rows would overflow: they count as zeros

// q = clamp(round(x * (127 / max|x|)), -127, 127) + 128 and max|x| / 127; false where x has NaN or infinity. Columns up to a
// multiple of four are filled with zeros, which count nothing.
bool quantise_row(const float* x, int k, uint8_t* q, float* row_scale) {
  uint32_t largest = 0;
  for (int i = 0; i < k; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + i, 4);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  if (largest >= kInfinityBits) return false;
  float limit;
  __builtin_memcpy(&limit, &largest, 4);
  const bool is_zero = limit < kSmallest;
  const float factor = is_zero ? 0.0f : 127.0f / limit;
  *row_scale = is_zero ? 0.0f : limit / 127.0f;
  for (int i = 0; i < k; ++i) {
    float y = __builtin_rintf(x[i] * factor);
    y = y > 127.0f ? 127.0f : y;
    y = y < -127.0f ? -127.0f : y;
    q[i] = static_cast<uint8_t>(static_cast<int32_t>(y) + 128);
  }
  for (int i = k; i % 4; ++i) q[i] = 0;
  return true;
}

}  // namespace
}  // namespace dsnn
