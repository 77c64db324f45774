// Adders on 8-bit activations: the same tiles of pixels and rows as of a matrix product, but sums of |q - u|. Eight columns of
// a row lie side by side, since one instruction sums the distances of eight bytes.

namespace dsnn {
namespace {

// Lays the quads of a block out in pairs, run by run; the odd one of a run is paired with zeros.
void pair_quads(const Part& part, const uint8_t* codes, uint8_t* out) {
  for (int run = 0; run < part.n_runs; ++run)
    for (int quad = 0; quad < part.run_quads; quad += 2, out += 128) {
      const bool is_whole = quad + 1 < part.run_quads;
      Bytes a = load_bytes(codes), b = is_whole ? load_bytes(codes + 64) : zero_bytes();
      codes += is_whole ? 128 : 64;
      interleave(&a, &b);
      store_bytes(out, a);
      store_bytes(out + 64, b);
    }
}

// Adds what MR pixels and one pair of quads have to sum.
template <int MR, bool MINIMUM, typename LOAD>
DSNN_INLINE void add_pair(const uint8_t* values, const uint8_t* mirrored, const uint8_t* const* rows, int64_t at,
                          Ints (&sums)[MR][2], const LOAD& load) {
  each<2>([&](auto half) DSNN_LAMBDA {
    const Bytes u = load_bytes(values + 64 * half);
    each<MR>([&](auto m) DSNN_LAMBDA {
      const auto pair = load(rows[m] + at);
      sums[m][half] = sub_ints(sums[m][half], distances(pair, u));
      if constexpr (MINIMUM) sums[m][half] = add_ints(sums[m][half], distances(pair, load_bytes(mirrored + 64 * half)));
    });
  });
}

// Adds what MR pixels and a block have to sum, its quads in pairs at `values`, and those of v at `mirrored`.
template <int MR, bool MINIMUM>
DSNN_INLINE void add_pairs(const Part& part, const uint8_t* values, const uint8_t* mirrored, const Pixel* pixels,
                           Ints (&sums)[MR][2]) {
  const int64_t whole = 8 * static_cast<int64_t>(part.run_quads / 2);
  for (int run = 0; run < part.n_runs; ++run) {
    const uint8_t* rows[MR];
    each<MR>([&](auto m) DSNN_LAMBDA { rows[m] = pixels[m].input + part.offsets[run]; });
    for (int64_t at = 0; at < whole; at += 8, values += 128, mirrored += 128)
      add_pair<MR, MINIMUM>(values, mirrored, rows, at, sums, [](const uint8_t* p) DSNN_LAMBDA { return load_pair(p); });
    if (part.run_quads % 2 == 0) continue;
    add_pair<MR, MINIMUM>(values, mirrored, rows, whole, sums, [](const uint8_t* p) DSNN_LAMBDA { return load_half_pair(p); });
    values += 128, mirrored += 128;
  }
}

template <int MR, bool MINIMUM, Kind KIND>
DSNN_INLINE void adder_tile(const Part& part, const uint8_t* values, const uint8_t* mirrored, const Finish& f, Walk& walk,
                            int64_t index) {
  Pixel pixels[MR];
  for (int m = 0; m < MR; ++m) pixels[m] = walk.next();
  Ints sums[MR][2];
  each<MR>([&](auto m) DSNN_LAMBDA { sums[m][0] = sums[m][1] = zero_ints(); });
  add_pairs<MR, MINIMUM>(part, values, mirrored, pixels, sums);
  each<MR>([&](auto m) DSNN_LAMBDA { sums[m][0] = settled(sums[m][0]), sums[m][1] = settled(sums[m][1]); });
  each<MR>([&](auto m) DSNN_LAMBDA {
    const Floats sum = to_floats(add_ints(f.start[0], join(sums[m][0], sums[m][1])));
    if constexpr (KIND == kAnyKind)
      finish_any(*part.conv, f, 0, pixels[m], index + m, sum);
    else
      finish<KIND>(*part.conv, f, 0, pixels[m], index + m, sum);
  });
}

// A tile of `size` pixels, 1 to MR.
template <int MR, bool MINIMUM>
void adder_tile_of(int size, const Part& part, const uint8_t* values, const uint8_t* mirrored, const Finish& f, Walk& walk,
                   int64_t index) {
  if (size == MR) return adder_tile<MR, MINIMUM, kAnyKind>(part, values, mirrored, f, walk, index);
  if constexpr (MR > 1) adder_tile_of<MR - 1, MINIMUM>(size, part, values, mirrored, f, walk, index);
}

// All pixels of the part on one block.
template <bool MINIMUM, Kind KIND>
void adder_tiles(const Part& part, const uint8_t* values, const uint8_t* mirrored, const Finish& f) {
  int64_t index = part.first_pixel;
  Walk walk(part, index);
  for (; index + kAdderTile <= part.end_pixel; index += kAdderTile)
    adder_tile<kAdderTile, MINIMUM, KIND>(part, values, mirrored, f, walk, index);
  if (index < part.end_pixel)
    adder_tile_of<kAdderTile, MINIMUM>(static_cast<int>(part.end_pixel - index), part, values, mirrored, f, walk, index);
}

template <bool MINIMUM>
void adder_tiles_of(const Part& part, const uint8_t* values, const uint8_t* mirrored, const Finish& f) {
  const Conv& c = *part.conv;
  if (c.epilogue.to_float) return adder_tiles<MINIMUM, kToFloats>(part, values, mirrored, f);
  if (c.residual) return adder_tiles<MINIMUM, kToBytesResidual>(part, values, mirrored, f);
  adder_tiles<MINIMUM, kToBytes>(part, values, mirrored, f);
}

// Blocks [first, end) of the part's group.
void adder_blocks(Part& part, int first, int end) {
  const Weight& weight = part.conv->weight;
  const bool is_minimum = weight.operation == Operation::kMinimum;
  const int64_t n_blocks = (part.conv->out_channels + 15) / 16, bytes = block_bytes(weight);
  const int64_t paired = int64_t{128} * part.n_runs * ((part.run_quads + 1) / 2);
  uint8_t* values = scratch(0, 2 * paired);
  for (int block = first; block < end; ++block) {
    const uint8_t* codes = weight.codes + (part.group * n_blocks + block) * bytes;
    pair_quads(part, codes, values);
    if (is_minimum) pair_quads(part, codes + int64_t{64} * weight.n_quads, values + paired);
    const Finish f = make_finish(part, block, 1);
    if (is_minimum)
      adder_tiles_of<true>(part, values, values + paired, f);
    else
      adder_tiles_of<false>(part, values, values, f);
  }
}

}  // namespace
}  // namespace dsnn
