// Adder layers on their way from the l2 to the l1 distance: |x - w|**p with 1 < p <= 2.

namespace dsnn {
namespace {

// All pixels by tiles of P; the last one overlaps the one before, and few pixels go one by one.
template <int P, typename Tile, typename Single>
DSNN_INLINE void tiles(int64_t n_pixels, const Tile& tile, const Single& single) {
  if (n_pixels < P) {
    for (int64_t pixel = 0; pixel < n_pixels; ++pixel) single(pixel);
    return;
  }
  int64_t pixel = 0;
  for (; pixel + P <= n_pixels; pixel += P) tile(pixel);
  if (pixel < n_pixels) tile(n_pixels - P);
}

// sum * t + coefficient of N values
template <int N>
DSNN_INLINE void horner(Floats (&sum)[N], const Floats (&t)[N], float coefficient) {
  each<N>([&](auto n) DSNN_LAMBDA { sum[n] = multiply_add(all_floats(coefficient), sum[n], t[n]); });
}

// a**q within 1e-5 of itself, a >= 0 and -1 < q <= 1, as 2**(q log2 a); something finite for 0. Both polynomials are minimax:
// log2(1 + t) on [sqrt(1/2) - 1, sqrt(2) - 1] within 2e-6, 2**f on [-1/2, 1/2] within 3e-6 of itself. The N values go step
// by step together, as each step waits for the one before.
template <int N>
DSNN_INLINE void power(const Floats (&a)[N], Floats q, Floats (&value)[N]) {
  Floats log[N], z[N];
  each<N>([&](auto n) DSNN_LAMBDA {
    const Ints bits = as_ints(a[n]), whole = from_exponent_field(sub_ints(bits, all_ints(0x3f3504f3)));
    z[n] = sub(as_floats(sub_ints(bits, to_exponent_field(whole))), all_floats(1.0f));
    value[n] = to_floats(whole);
    log[n] = all_floats(-0x1.a71984p-3f);
  });
  horner(log, z, 0x1.49e2fp-2f);
  horner(log, z, -0x1.784f4cp-2f);
  horner(log, z, 0x1.eada36p-2f);
  horner(log, z, -0x1.713832p-1f);
  horner(log, z, 0x1.7155acp+0f);
  each<N>([&](auto n) DSNN_LAMBDA {
    z[n] = maximum(all_floats(-126.0f), mul(q, multiply_add(value[n], log[n], z[n])));
  });
  // Adding 1.5 * 2**23 rounds to an integer, in the lowest bits.
  each<N>([&](auto n) DSNN_LAMBDA {
    log[n] = add(z[n], all_floats(0x1.8p23f));
    z[n] = sub(z[n], sub(log[n], all_floats(0x1.8p23f)));
    value[n] = all_floats(0x1.3997d4p-7f);
  });
  horner(value, z, 0x1.ca1444p-5f);
  horner(value, z, 0x1.ec06dap-3f);
  horner(value, z, 0x1.62e0dcp-1f);
  horner(value, z, 0x1.ffffe8p-1f);
  each<N>([&](auto n) DSNN_LAMBDA {
    value[n] = as_floats(add_ints(as_ints(value[n]), to_exponent_field(as_ints(log[n]))));
  });
}

// -|v - w|**p, as -|v - w| |v - w|**(p - 1)
struct PowerDistance {
  Floats exponent;
  explicit PowerDistance(const Adder& a) : exponent(all_floats(a.exponent - 1.0f)) {}
  template <int N>
  DSNN_INLINE_MEMBER void add_terms(Floats (&sums)[N], const Floats (&v)[N], Floats w) const {
    Floats distances[N], powers[N];
    each<N>([&](auto n) DSNN_LAMBDA { distances[n] = magnitude(sub(v[n], w)); });
    power(distances, exponent, powers);
    each<N>([&](auto n) DSNN_LAMBDA { sums[n] = multiply_add(sums[n], distances[n], powers[n]); });
  }
  DSNN_INLINE_MEMBER Floats add_term(Floats sum, Floats v, Floats w) const {
    Floats sums[1] = {sum};
    const Floats values[1] = {v};
    add_terms(sums, values, w);
    return sums[0];
  }
  DSNN_INLINE_MEMBER Floats finish(Floats sum) const { return sub(zero_floats(), sum); }
};

// sum + v * p |d|**(p - 1) sgn(d), as p v d |d|**(p - 2)
struct PowerSlope {
  Floats exponent, factor;
  explicit PowerSlope(float p) : exponent(all_floats(p - 2.0f)), factor(all_floats(p)) {}
  explicit PowerSlope(const Adder& a) : PowerSlope(a.exponent) {}
  template <int N>
  DSNN_INLINE_MEMBER void add_terms(Floats (&sums)[N], const Floats (&v)[N], const Floats (&differences)[N]) const {
    Floats distances[N], powers[N];
    each<N>([&](auto n) DSNN_LAMBDA { distances[n] = magnitude(differences[n]); });
    power(distances, exponent, powers);
    each<N>([&](auto n) DSNN_LAMBDA { sums[n] = multiply_add(sums[n], mul(v[n], differences[n]), powers[n]); });
  }
  template <int>
  DSNN_INLINE_MEMBER Floats add_term(Floats sum, Floats v, Floats w, Floats x) const {
    Floats sums[1] = {sum};
    const Floats values[1] = {v}, differences[1] = {sub(w, x)};
    add_terms(sums, values, differences);
    return sums[0];
  }
  DSNN_INLINE_MEMBER Floats finish(Floats sum) const { return mul(sum, factor); }
};

template <int P>
void power_forward_tile(const Adder& a, int block, int64_t first_pixel) {
  const PowerDistance term(a);
  const float* weight = a.weight + block * 16 * a.n_columns;
  const int lane = 16 * block, n_valid = a.n_lanes - lane < 16 ? a.n_lanes - lane : 16;
  Floats sums[P], v[P];
  each<P>([&](auto p) DSNN_LAMBDA { sums[p] = zero_floats(); });
  for (int run = 0; run < a.n_runs; ++run)
    for (int64_t at = a.runs[run].offset, end = at + a.runs[run].length; at < end; ++at, weight += 16) {
      each<P>([&](auto p) DSNN_LAMBDA { v[p] = all_floats(a.source[a.source_at[first_pixel + p] + at]); });
      term.add_terms(sums, v, load_floats(weight));
    }
  each<P>([&](auto p) DSNN_LAMBDA {
    store_some(a.target + a.target_at[first_pixel + p] + lane, term.finish(sums[p]), n_valid);
  });
}

template <int P>
void power_grad_tile(const Adder& a, int block, int64_t first_pixel) {
  const PowerSlope term(a);
  const float* weight = a.weight + block * 16 * a.n_columns;
  const int lane = 16 * block, n_valid = a.n_lanes - lane < 16 ? a.n_lanes - lane : 16;
  Floats sums[P], x[P], v[P], differences[P];
  each<P>([&](auto p) DSNN_LAMBDA {
    x[p] = load_some(a.x + a.target_at[first_pixel + p] + lane, n_valid);
    sums[p] = load_floats(a.lane_sums + lane);
  });
  for (int run = 0; run < a.n_runs; ++run)
    for (int64_t at = a.runs[run].offset, end = at + a.runs[run].length; at < end; ++at, weight += 16) {
      const Floats w = load_floats(weight);
      each<P>([&](auto p) DSNN_LAMBDA {
        v[p] = all_floats(a.source[a.source_at[first_pixel + p] + at]);
        differences[p] = sub(w, x[p]);
      });
      term.add_terms(sums, v, differences);
    }
  each<P>([&](auto p) DSNN_LAMBDA {
    store_some(a.target + a.target_at[first_pixel + p] + lane, keep_nan(term.finish(sums[p]), x[p]), n_valid);
  });
}

void power_forward_block(const Adder& a, int block) {
  tiles<kPowerTile>(
      a.n_pixels, [&](int64_t pixel) { power_forward_tile<kPowerTile>(a, block, pixel); },
      [&](int64_t pixel) { power_forward_tile<1>(a, block, pixel); });
}

void power_grad_block(const Adder& a, int block) {
  tiles<kPowerTile>(
      a.n_pixels, [&](int64_t pixel) { power_grad_tile<kPowerTile>(a, block, pixel); },
      [&](int64_t pixel) { power_grad_tile<1>(a, block, pixel); });
}

// sums[m] += sum over the pixels of grad * p |x - w|**(p-1) sgn(x - w), for M rows of 16 lanes
template <int M, bool IS_DEPTHWISE>
void grad_weight_rows(const AdderWeightGrad& a, const float* weight, float* sums) {
  const PowerSlope term(a.exponent);
  Floats w[M], totals[M], v[M], differences[M];
  each<M>([&](auto m) DSNN_LAMBDA {
    w[m] = load_floats(weight + 16 * m);
    totals[m] = zero_floats();
  });
  for (int64_t pixel = 0; pixel < a.n_pixels; ++pixel) {
    const Floats x = load_some(a.x + a.x_at[pixel], a.n_lanes);
    const float* grad = a.grad + a.grad_at[pixel];
    each<M>([&](auto m) DSNN_LAMBDA {
      v[m] = IS_DEPTHWISE ? load_some(grad, a.n_lanes) : all_floats(grad[m]);
      differences[m] = sub(x, w[m]);
    });
    term.add_terms(totals, v, differences);
  }
  each<M>([&](auto m) DSNN_LAMBDA {
    store_floats(sums + 16 * m, add(load_floats(sums + 16 * m), term.finish(totals[m])));
  });
}

void adder_grad_weight(const AdderWeightGrad& a) {
  if (a.is_depthwise) return grad_weight_rows<1, true>(a, a.weight, a.sums);
  AdderWeightGrad rest = a;
  int row = 0;
  for (; row + kPowerTile <= a.n_rows; row += kPowerTile, rest.grad += kPowerTile)
    grad_weight_rows<kPowerTile, false>(rest, a.weight + 16 * row, a.sums + 16 * row);
  for (; row < a.n_rows; ++row, ++rest.grad) grad_weight_rows<1, false>(rest, a.weight + 16 * row, a.sums + 16 * row);
}

}  // namespace
}  // namespace dsnn
