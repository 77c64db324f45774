// Eight floats, some of them: a mask is a vector of all ones and zeros.
#include <immintrin.h>

namespace dsnn {
namespace {

constexpr int kLanes = 8;
using Lanes = __m256;
// A struct, since the attributes of a vector type are lost as an argument of a template.
struct LaneMask {
  __m256i lanes;
};

DSNN_INLINE LaneMask lanes_between(int first, int end) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(first), lane);
  return {_mm256_andnot_si256(before, _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane))};
}
DSNN_INLINE Lanes no_lanes() { return _mm256_setzero_ps(); }
// The lanes of one vector are loaded once each: those of `mask` are still 0 in `others`.
DSNN_INLINE Lanes load_lanes(Lanes others, const float* p, LaneMask mask) {
  return _mm256_or_ps(others, _mm256_maskload_ps(p, mask.lanes));
}
// The same where all eight may be read, which is faster.
DSNN_INLINE Lanes blend_lanes(Lanes others, const float* p, LaneMask mask) {
  return _mm256_or_ps(others, _mm256_and_ps(_mm256_loadu_ps(p), _mm256_castsi256_ps(mask.lanes)));
}
DSNN_INLINE void store_all_lanes(float* p, Lanes v) { _mm256_storeu_ps(p, v); }
DSNN_INLINE void store_lanes(float* p, Lanes v, LaneMask mask) { _mm256_maskstore_ps(p, mask.lanes, v); }

}  // namespace
}  // namespace dsnn
