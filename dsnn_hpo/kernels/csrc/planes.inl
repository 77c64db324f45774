// Blocks whose exponents span more than an int8 plane holds: sums over several planes, in 32 bits where they fit.

namespace dsnn {
namespace {

// A sum over several planes is of 64 bits; finishes one pixel and block.
void finish_wide(const Part& part, const Finish& f, const Pixel& pixel, int64_t index, const int64_t* sums) {
  const Conv& c = *part.conv;
  float values[16];
  for (int i = 0; i < 16; ++i) {
    const bool corrected = c.epilogue.correction && i < f.n_valid[0];
    values[i] = static_cast<float>(sums[i] - (corrected ? c.epilogue.correction[f.row + i] : 0));
  }
  const Floats sum = load_floats(values);
  finish_any(c, f, 0, pixel, index, sum);
}

// All pixels of the part on one block of several decoded planes, [plane][n_quads][64].
void wide_tiles(const Part& part, const int8_t* values, int n_planes, const Finish& f) {
  Walk walk(part, part.first_pixel);
  const int64_t plane_stride = int64_t{64} * part.conv->weight.n_quads;
  for (int64_t index = part.first_pixel; index < part.end_pixel; ++index) {
    const Pixel pixel = walk.next();
    int64_t total[16] = {0};
    for (int plane = 0; plane < n_planes; ++plane) {
      Ints sums[1][1] = {{zero_ints()}};
      multiply<1, 1, false>(part, values + plane * plane_stride, 0, &pixel, sums);
      int32_t stored[16];
      store_ints(stored, sums[0][0]);
      for (int i = 0; i < 16; ++i) total[i] += static_cast<int64_t>(stored[i]) * (int64_t{1} << (7 * plane));
    }
    finish_wide(part, f, pixel, index, total);
  }
}

// Whether no sum of a block of decoded planes, [plane][n_quads][64], can leave 32 bits.
bool is_in_32_bits(const int8_t* values, int n_planes, int n_quads) {
  const uint8_t ones[4] = {1, 1, 1, 1};
  const Quad quad_of_ones = load_quad(ones);
  const Bytes sign = all_bytes(static_cast<int8_t>(0x80));
  int64_t totals[16] = {0};
  for (int plane = 0; plane < n_planes; ++plane) {
    Ints sum = zero_ints();
    for (int quad = 0; quad < n_quads; ++quad, values += 64) {
      const Bytes value = load_bytes(values);
      sum = dot(sum, quad_of_ones, negate_where(value, value, sign));
    }
    int32_t stored[16];
    store_ints(stored, sum);
    for (int i = 0; i < 16; ++i) totals[i] += static_cast<int64_t>(stored[i]) * (int64_t{1} << (7 * plane));
  }
  for (const int64_t total : totals)
    if (total * 255 > INT32_MAX) return false;
  return true;
}

// The planes from the highest one on, each worth 128 times the next one; a sum in between may wrap, the last one does not.
template <int MR, Kind KIND>
DSNN_INLINE void plane_tile(const Part& part, const int8_t* values, int n_planes, const Finish& f, Walk& walk, int64_t index) {
  const int64_t plane_stride = int64_t{64} * part.conv->weight.n_quads;
  Pixel pixels[MR];
  for (int m = 0; m < MR; ++m) pixels[m] = walk.next();
  Ints sums[MR][1];
  each<MR>([&](auto m) DSNN_LAMBDA { sums[m][0] = zero_ints(); });
  for (int plane = n_planes - 1; plane >= 0; --plane) {
    each<MR>([&](auto m) DSNN_LAMBDA { sums[m][0] = mul_ints(sums[m][0], all_ints(128)); });
    if constexpr (kHasPairs) {
      if (part.paired) {
        multiply_pairs<MR>(part, values + plane * plane_stride, pixels, sums);
        continue;
      }
    }
    multiply<MR, 1, false>(part, values + plane * plane_stride, 0, pixels, sums);
  }
  each<MR>([&](auto m) DSNN_LAMBDA {
    const Floats sum = to_floats(add_ints(f.start[0], settled(sums[m][0])));
    if constexpr (KIND == kAnyKind)
      finish_any(*part.conv, f, 0, pixels[m], index + m, sum);
    else
      finish<KIND>(*part.conv, f, 0, pixels[m], index + m, sum);
  });
}

template <Kind KIND>
void plane_tiles(const Part& part, const int8_t* values, int n_planes, const Finish& f) {
  int64_t index = part.first_pixel;
  Walk walk(part, index);
  for (; index + kTile <= part.end_pixel; index += kTile) plane_tile<kTile, KIND>(part, values, n_planes, f, walk, index);
  for (; index < part.end_pixel; ++index) plane_tile<1, kAnyKind>(part, values, n_planes, f, walk, index);
}

// All pixels of the part on one block of several planes.
void blocks_of_planes(Part& part, int8_t* values, int n_planes, const Finish& f) {
  const Conv& c = *part.conv;
  const int n_quads = c.weight.n_quads;
  if (!is_in_32_bits(values, n_planes, n_quads)) return wide_tiles(part, values, n_planes, f);
  part.paired = kHasPairs && part.run_quads % 2 == 0;
  for (int plane = 0; part.paired && plane < n_planes; ++plane)
    interleave_quads(values + int64_t{64} * n_quads * plane, n_quads);
  if (c.epilogue.to_float) return plane_tiles<kToFloats>(part, values, n_planes, f);
  if (c.residual) return plane_tiles<kToBytesResidual>(part, values, n_planes, f);
  plane_tiles<kToBytes>(part, values, n_planes, f);
}

}  // namespace
}  // namespace dsnn
