// Loops that are unrolled before anything else happens to them.

namespace dsnn {
namespace {

// f(0), f(1), .. f(N - 1) with constants, so that arrays indexed by them become registers: loops unrolled later do not.
template <int I>
struct Index {
  static constexpr int value = I;
  constexpr operator int() const { return I; }
};
template <int N, int I = 0, typename F>
DSNN_INLINE void each(const F& f) {
  if constexpr (I < N) {
    f(Index<I>{});
    each<N, I + 1>(f);
  }
}
#define DSNN_LAMBDA __attribute__((always_inline))

}  // namespace
}  // namespace dsnn
