// A few pixels on blocks that are decoded in registers, never in memory.

namespace dsnn {
namespace {

// Sums of one pixel and block that do not wait for each other.
template <int MR>
constexpr int kChains = MR == 1 ? 8 : MR == 2 ? 4 : 2;

// Adds the products of MR pixels and one quad of columns.
template <int MR>
DSNN_INLINE void direct_quad(const Bytes& values, int64_t offset, const uint8_t* const* rows, Ints (&sums)[MR]) {
  each<MR>([&](auto m) DSNN_LAMBDA { sums[m] = dot(sums[m], load_quad(rows[m] + offset), values); });
}

// MR pixels on one block whose codes lie at `codes`. Activations of a linear layer lie side by side, in one run; those of a
// convolution are looked up.
template <int BITS, int MR, bool ONE_RUN>
void direct_block(const Part& part, const uint8_t* codes, const Finish& f, const Pixel* pixels) {
  const Weight& weight = part.conv->weight;
  const Decoder decoder = make_decoder<BITS>(weight, 0);
  const Fields<BITS> fields = Fields<BITS>::make(codes, weight.n_quads);
  const uint8_t* rows[MR];
  Ints sums[kChains<MR>][MR];
  each<MR>([&](auto m) DSNN_LAMBDA {
    rows[m] = pixels[m].input + part.offsets[0];
    sums[0][m] = f.start[0];
    each<kChains<MR> - 1>([&](auto chain) DSNN_LAMBDA { sums[chain + 1][m] = zero_ints(); });
  });
  const int n_groups = weight.n_quads / 8;
  for (int group = 0; group < n_groups; ++group)
    each<8>([&](auto j) DSNN_LAMBDA {
      constexpr int J = decltype(j)::value;
      const int64_t quad = 8 * group + J;
      direct_quad<MR>(values_of<BITS>(decoder, codes_of<BITS, J>(fields, group)),
                      ONE_RUN ? 4 * quad : part.quad_offsets[quad], rows, sums[J % kChains<MR>]);
    });
  for (int64_t quad = 8 * n_groups; quad < weight.n_quads; ++quad)
    direct_quad<MR>(values_of<BITS>(decoder, codes_at<BITS>(fields, quad)), part.quad_offsets[quad], rows, sums[0]);
  const Conv& c = *part.conv;
  each<MR>([&](auto m) DSNN_LAMBDA {
    each<kChains<MR> - 1>([&](auto chain) DSNN_LAMBDA { sums[0][m] = add_ints(sums[0][m], sums[chain + 1][m]); });
    const Floats sum = to_floats(sums[0][m]);
    finish_any(c, f, 0, pixels[m], part.first_pixel + m, sum);
  });
}

template <int BITS, int MR>
void direct_runs(const Part& part, const uint8_t* codes, const Finish& f, const Pixel* pixels) {
  if (part.n_runs == 1) return direct_block<BITS, MR, true>(part, codes, f, pixels);
  direct_block<BITS, MR, false>(part, codes, f, pixels);
}

template <int MR>
void direct_rows(const Part& part, const uint8_t* codes, const Finish& f, const Pixel* pixels) {
  switch (part.conv->weight.bits) {
    case 2: return direct_runs<2, MR>(part, codes, f, pixels);
    case 3: return direct_runs<3, MR>(part, codes, f, pixels);
    case 4: return direct_runs<4, MR>(part, codes, f, pixels);
    case 5: return direct_runs<5, MR>(part, codes, f, pixels);
    default: return direct_runs<6, MR>(part, codes, f, pixels);
  }
}

// The direct path for `n` pixels, 1 to MR.
template <int MR>
void direct_rows_of(int n, const Part& part, const uint8_t* codes, const Finish& f, const Pixel* pixels) {
  if (n == MR) return direct_rows<MR>(part, codes, f, pixels);
  if constexpr (MR > 1) direct_rows_of<MR - 1>(n, part, codes, f, pixels);
}

template <int MAX>
void direct(const Part& part, const uint8_t* codes, const Finish& f) {
  Pixel pixels[MAX];
  const int n = static_cast<int>(part.end_pixel - part.first_pixel);
  Walk walk(part, part.first_pixel);
  for (int m = 0; m < n; ++m) pixels[m] = walk.next();
  direct_rows_of<MAX>(n, part, codes, f, pixels);
}

}  // namespace
}  // namespace dsnn
