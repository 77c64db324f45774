// Sixteen floats, some of them: masks are a register of their own.
#include <immintrin.h>

namespace dsnn {
namespace {

constexpr int kLanes = 16;
using Lanes = __m512;
using LaneMask = __mmask16;

DSNN_INLINE LaneMask lanes_between(int first, int end) { return static_cast<LaneMask>((1u << end) - (1u << first)); }
DSNN_INLINE Lanes no_lanes() { return _mm512_setzero_ps(); }
// The same where all sixteen may be read, which is faster.
DSNN_INLINE Lanes blend_lanes(Lanes others, const float* p, LaneMask lanes) {
  return _mm512_mask_blend_ps(lanes, others, _mm512_loadu_ps(p));
}
DSNN_INLINE Lanes load_lanes(Lanes others, const float* p, LaneMask lanes) {
  return _mm512_mask_loadu_ps(others, lanes, p);
}
DSNN_INLINE void store_all_lanes(float* p, Lanes v) { _mm512_storeu_ps(p, v); }
DSNN_INLINE void store_lanes(float* p, Lanes v, LaneMask lanes) { _mm512_mask_storeu_ps(p, lanes, v); }

}  // namespace
}  // namespace dsnn
