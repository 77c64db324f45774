// Adder layers: differences instead of products.
//
// |x - w| = 2 max(x, w) - x - w takes two instructions a term, and the sums of x and of w are shared by many results: as
// fast as a convolution where maxima and products have units of their own. Its error is relative to |x| + |w|, as that of
// rounding x and w themselves. Differences and sums alternate between the units that add and the ones that multiply: by
// one, which changes no bit.

namespace dsnn {
namespace {

// -|v - w|, the quick way
struct Distance {
  Floats ones, factor;
  explicit Distance(const Adder&) : ones(hidden(all_floats(1.0f))), factor(all_floats(-2.0f)) {}
  DSNN_INLINE_MEMBER Floats add_term(Floats sum, Floats v, Floats w) const {
    return add_on_multiplier(sum, maximum(v, w), ones);
  }
  DSNN_INLINE_MEMBER Floats finish(Floats sum, float pixel_sum, Floats lane_sum) const {
    return multiply_add(add(all_floats(pixel_sum), lane_sum), sum, factor);
  }
};

// -|v - w|, where there are no sums to share
struct PlainDistance {
  explicit PlainDistance(const Adder&) {}
  DSNN_INLINE_MEMBER Floats add_term(Floats sum, Floats v, Floats w) const { return add(sum, magnitude(sub(v, w))); }
  DSNN_INLINE_MEMBER Floats finish(Floats sum) const { return sub(zero_floats(), sum); }
};

// Asks for the memory that the next images' and, in the gradient, the next tile's beginning would wait for: a fifth of the time.
template <int P>
DSNN_INLINE void fetch_next(const Adder& a, int block, int64_t first_pixel) {
  if (a.next && block == 0)
    for (int64_t at = first_pixel * a.next_step; at < (first_pixel + P) * a.next_step; at += 16)
      __builtin_prefetch(a.next + at, 0, 2);
  if (!a.x || first_pixel + 2 * P > a.n_pixels) return;
  for (int p = 0; p < P; ++p) {
    const int64_t at = a.target_at[first_pixel + P + p] + 16 * block;
    __builtin_prefetch(a.x + at);
    __builtin_prefetch(a.target + at, 1);
  }
}

template <int P, int B, int N>
DSNN_INLINE void forward_columns(const Distance& term, const float* const* rows, int64_t offset, const float* weight,
                                 int64_t block, Floats (&sums)[P][B]) {
  Floats w[N][B];
  each<N>([&](auto n) DSNN_LAMBDA {
    each<B>([&](auto b) DSNN_LAMBDA { w[n][b] = load_floats(weight + b * block + 16 * n); });
  });
  each<P>([&](auto p) DSNN_LAMBDA {
    const float* row = rows[p] + offset;
    each<N>([&](auto n) DSNN_LAMBDA {
      const Floats v = all_floats(row[n]);
      each<B>([&](auto b) DSNN_LAMBDA { sums[p][b] = term.add_term(sums[p][b], v, w[n][b]); });
    });
  });
}

template <int P, int B>
void forward_tile(const Adder& a, int block, int64_t first_pixel) {
  constexpr int N = B == 1 ? 4 : 2;  // columns at a time, as many as registers hold
  fetch_next<P>(a, block, first_pixel);
  const Distance term(a);
  const int64_t block_size = 16 * a.n_columns;
  const float* weight = a.weight + block * block_size;
  const float* rows[P];
  Floats sums[P][B];
  each<P>([&](auto p) DSNN_LAMBDA {
    rows[p] = a.source + a.source_at[first_pixel + p];
    each<B>([&](auto b) DSNN_LAMBDA { sums[p][b] = zero_floats(); });
  });
  for (int run = 0; run < a.n_runs; ++run) {
    int64_t at = a.runs[run].offset;
    const int64_t end = at + a.runs[run].length;
    for (; at + N <= end; at += N, weight += 16 * N) forward_columns<P, B, N>(term, rows, at, weight, block_size, sums);
    for (; at < end; ++at, weight += 16) forward_columns<P, B, 1>(term, rows, at, weight, block_size, sums);
  }
  each<B>([&](auto b) DSNN_LAMBDA {
    const int lane = 16 * (block + b), n_valid = a.n_lanes - lane < 16 ? a.n_lanes - lane : 16;
    const Floats lane_sum = load_floats(a.lane_sums + lane);
    each<P>([&](auto p) DSNN_LAMBDA {
      const int64_t pixel = first_pixel + p;
      store_some(a.target + a.target_at[pixel] + lane, term.finish(sums[p][b], a.pixel_sums[pixel], lane_sum), n_valid);
    });
  });
}

template <int P, int B>
void forward_block(const Adder& a, int block) {
  tiles<P>(
      a.n_pixels, [&](int64_t pixel) { forward_tile<P, B>(a, block, pixel); },
      [&](int64_t pixel) { forward_tile<1, B>(a, block, pixel); });
}

void adder_forward(const Adder& a) {
  const int n_blocks = (a.n_lanes + 15) / 16;
  int block = 0;
  if (a.exponent > 1.0f) {
    for (; block < n_blocks; ++block) power_forward_block(a, block);
    return;
  }
  if constexpr (kForwardPairTile > 0)
    for (; block + 2 <= n_blocks; block += 2) forward_block<kForwardPairTile, 2>(a, block);
  for (; block < n_blocks; ++block) forward_block<kForwardTile, 1>(a, block);
}

// sum + v * clip(w - x, -1, 1)
struct Clipped {
  Floats ones;
  explicit Clipped(const Adder&) : ones(hidden(all_floats(1.0f))) {}
  template <int P>
  DSNN_INLINE_MEMBER Floats add_term(Floats sum, Floats v, Floats w, Floats x) const {
    const Floats difference = P % 2 ? sub_on_multiplier(w, x, ones) : sub(w, x);
    return multiply_add(sum, v, clip(difference, ones));
  }
  DSNN_INLINE_MEMBER Floats finish(Floats sum) const { return sum; }
};

template <int P, int N>
DSNN_INLINE void grad_columns(const Clipped& term, const float* const* rows, int64_t offset, const float* weight,
                              const Floats (&x)[P], Floats (&sums)[P]) {
  Floats w[N];
  each<N>([&](auto n) DSNN_LAMBDA { w[n] = load_floats(weight + 16 * n); });
  each<P>([&](auto p) DSNN_LAMBDA {
    const float* row = rows[p] + offset;
    each<N>([&](auto n) DSNN_LAMBDA {
      sums[p] = term.add_term<(p + n) % 2>(sums[p], all_floats(row[n]), w[n], x[p]);
    });
  });
}

template <int P>
void grad_tile(const Adder& a, int block, int64_t first_pixel) {
  constexpr int N = 4;
  fetch_next<P>(a, block, first_pixel);
  const Clipped term(a);
  const float* weight = a.weight + block * 16 * a.n_columns;
  const int lane = 16 * block, n_valid = a.n_lanes - lane < 16 ? a.n_lanes - lane : 16;
  const float* rows[P];
  Floats sums[P], x[P];
  each<P>([&](auto p) DSNN_LAMBDA {
    rows[p] = a.source + a.source_at[first_pixel + p];
    x[p] = load_some(a.x + a.target_at[first_pixel + p] + lane, n_valid);
    sums[p] = load_floats(a.lane_sums + lane);
  });
  for (int run = 0; run < a.n_runs; ++run) {
    int64_t at = a.runs[run].offset;
    const int64_t end = at + a.runs[run].length;
    for (; at + N <= end; at += N, weight += 16 * N) grad_columns<P, N>(term, rows, at, weight, x, sums);
    for (; at < end; ++at, weight += 16) grad_columns<P, 1>(term, rows, at, weight, x, sums);
  }
  each<P>([&](auto p) DSNN_LAMBDA {
    store_some(a.target + a.target_at[first_pixel + p] + lane, keep_nan(sums[p], x[p]), n_valid);
  });
}

void adder_grad_input(const Adder& a) {
  for (int block = 0; block < (a.n_lanes + 15) / 16; ++block) {
    if (a.exponent > 1.0f)
      power_grad_block(a, block);
    else
      tiles<kGradientTile>(
          a.n_pixels, [&](int64_t pixel) { grad_tile<kGradientTile>(a, block, pixel); },
          [&](int64_t pixel) { grad_tile<1>(a, block, pixel); });
  }
}

// The sums of all taps of one pixel's 16 lanes; `add_tap(sum, source, weight)`.
template <typename AddTap>
DSNN_INLINE Floats sum_taps(const Adder& a, int block, int64_t pixel, int n_valid, Floats sum, const AddTap& add_tap) {
  const float* source = a.source + a.source_at[pixel] + 16 * block;
  const float* weight = a.weight + block * 16 * a.n_columns;
  for (int run = 0; run < a.n_runs; ++run)
    sum = add_tap(sum, load_some(source + a.runs[run].offset, n_valid), load_floats(weight + 16 * run));
  return sum;
}

template <typename PixelOfBlock>
DSNN_INLINE void each_pixel_of_blocks(const Adder& a, const PixelOfBlock& work) {
  for (int64_t pixel = 0; pixel < a.n_pixels; ++pixel)
    for (int block = 0; block < (a.n_lanes + 15) / 16; ++block)
      work(pixel, block, a.n_lanes - 16 * block < 16 ? a.n_lanes - 16 * block : 16);
}

template <typename Term>
void depthwise_forward(const Adder& a) {
  const Term term(a);
  each_pixel_of_blocks(a, [&](int64_t pixel, int block, int n_valid) DSNN_LAMBDA {
    const Floats sum =
        sum_taps(a, block, pixel, n_valid, zero_floats(),
                 [&](Floats total, Floats v, Floats w) DSNN_LAMBDA { return term.add_term(total, v, w); });
    store_some(a.target + a.target_at[pixel] + 16 * block, term.finish(sum), n_valid);
  });
}

template <typename Term>
void depthwise_grad_input(const Adder& a) {
  const Term term(a);
  each_pixel_of_blocks(a, [&](int64_t pixel, int block, int n_valid) DSNN_LAMBDA {
    const int64_t at = a.target_at[pixel] + 16 * block;
    const Floats x = load_some(a.x + at, n_valid);
    const Floats sum =
        sum_taps(a, block, pixel, n_valid, load_floats(a.lane_sums + 16 * block),
                 [&](Floats total, Floats v, Floats w) DSNN_LAMBDA { return term.template add_term<0>(total, v, w, x); });
    store_some(a.target + at, keep_nan(term.finish(sum), x), n_valid);
  });
}

void adder_depthwise_forward(const Adder& a) {
  a.exponent > 1.0f ? depthwise_forward<PowerDistance>(a) : depthwise_forward<PlainDistance>(a);
}

void adder_depthwise_grad_input(const Adder& a) {
  a.exponent > 1.0f ? depthwise_grad_input<PowerSlope>(a) : depthwise_grad_input<Clipped>(a);
}

void adder_sums(const float* vectors, int64_t n, int64_t length, float* sums) {
  for (int64_t i = 0; i < n; ++i, vectors += length) {
    Floats total = zero_floats();
    int64_t at = 0;
    for (; at + 16 <= length; at += 16) total = add(total, load_floats(vectors + at));
    if (at < length) total = add(total, load_some(vectors + at, static_cast<int>(length - at)));
    sums[i] = sum_of(total);
  }
}

constexpr AdderKernels kAdder = {adder_forward, adder_grad_input, adder_depthwise_forward, adder_depthwise_grad_input,
                                 adder_grad_weight, adder_sums};

}  // namespace
}  // namespace dsnn
