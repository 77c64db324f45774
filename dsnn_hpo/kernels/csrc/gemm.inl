// Convolution and linear layers on 8-bit activations: an implicit matrix product of pixels and rows of the weight.
//
// A tile is a few pixels by up to four blocks of 16 rows, its sums in registers. Blocks are decoded once a call and then
// met by all pixels; a few pixels alone take the codes straight from memory instead, decoded in registers.

namespace dsnn {
namespace {

constexpr int kMaxPlanes = 5;  // 32 exponents, 7 a plane

enum Kind { kToBytes, kToBytesResidual, kToFloats, kAnyKind };

// The part of the work of one call: some pixels on some blocks of a group of rows.
struct Part {
  const Conv* conv;
  int group;
  int64_t row0;  // the group's first row, of scale, bias and output
  int64_t first_pixel, end_pixel;
  const int64_t* offsets;       // of each run, from a pixel's first activation
  int n_runs, run_quads;        // runs are stretches of activations that lie side by side
  bool paired;                  // one block alone, its quads interleaved two by two
  const int64_t* quad_offsets;  // of each quad; only for the direct path with several runs
};

// Where a pixel's activations begin, and where its results go.
struct Pixel {
  const uint8_t* input;
  int64_t output, residual;  // elements from the first one
};

// Pixels one after the other.
class Walk {
 public:
  Walk(const Part& part, int64_t index) : c_(*part.conv), x_(static_cast<int>(index % c_.out_w)) {
    const int64_t row = index / c_.out_w;
    y_ = static_cast<int>(row % c_.out_h);
    image_ = row / c_.out_h;
    group_ = c_.input + static_cast<int64_t>(part.group) * c_.in_channels;
    start_row();
  }

  DSNN_INLINE_MEMBER Pixel next() {
    const Pixel pixel = at_;
    at_.input += step_;
    at_.output += c_.out_pixel;
    at_.residual += c_.res_pixel;
    if (++x_ == c_.out_w) {
      x_ = 0;
      if (++y_ == c_.out_h) {
        y_ = 0;
        ++image_;
      }
      start_row();
    }
    return pixel;
  }

 private:
  void start_row() {
    step_ = c_.stride_w * c_.in_pixel;
    at_ = {group_ + image_ * c_.in_image + y_ * (c_.stride_h * c_.in_row) + x_ * step_,
           image_ * c_.out_image + y_ * c_.out_row + x_ * c_.out_pixel,
           image_ * c_.res_image + y_ * c_.res_row + x_ * c_.res_pixel};
  }

  const Conv& c_;
  const uint8_t* group_;
  int x_, y_;
  int64_t image_, step_;
  Pixel at_;
};

// What the results of the blocks of a tile need, ready for registers.
struct Finish {
  Floats scale[kBlocks], bias[kBlocks];
  Ints start[kBlocks];  // minus what the input's zero point adds
  Floats low, high, residual_scale;
  Ints zero, minus_residual_zero;
  int64_t row;              // of the first block
  int n_valid[kBlocks];  // rows of each block
};

Finish make_finish(const Part& part, int first_block, int n_blocks) {
  const Conv& c = *part.conv;
  const Epilogue& e = c.epilogue;
  Finish f;
  f.row = part.row0 + 16 * first_block;
  for (int n = 0; n < n_blocks; ++n) {
    const int left = c.out_channels - 16 * (first_block + n);
    f.n_valid[n] = left < 16 ? left : 16;
    f.scale[n] = load_some(e.scale + f.row + 16 * n, f.n_valid[n]);
    f.bias[n] = e.bias ? load_some(e.bias + f.row + 16 * n, f.n_valid[n]) : all_floats(0.0f);
    int32_t start[16] = {0};
    // The sums wrap, and so does this.
    for (int i = 0; e.correction && i < f.n_valid[n]; ++i)
      start[i] = static_cast<int32_t>(0u - static_cast<uint32_t>(e.correction[f.row + 16 * n + i]));
    f.start[n] = load_ints(start);
  }
  f.low = all_floats(e.low);
  f.high = all_floats(e.high);
  f.residual_scale = all_floats(e.residual_scale);
  f.zero = all_ints(e.zero);
  f.minus_residual_zero = all_ints(-e.residual_zero);
  return f;
}

// Takes the sums of one pixel and block, as floats, to the output.
template <Kind KIND>
DSNN_INLINE void finish(const Conv& c, const Finish& f, int n, const Pixel& pixel, int64_t index, Floats sum) {
  Floats y = mul(sum, f.scale[n]);
  if (KIND == kToFloats && c.epilogue.row_scale) y = mul(y, all_floats(c.epilogue.row_scale[index]));
  y = add(y, f.bias[n]);
  const int64_t row = f.row + 16 * n;
  const int n_valid = f.n_valid[n];
  if (KIND == kToBytesResidual || (KIND == kToFloats && c.residual)) {
    const Ints q = add_ints(load_some_bytes(c.residual + pixel.residual + row, n_valid), f.minus_residual_zero);
    y = add(y, mul(to_floats(q), f.residual_scale));
  }
  if (KIND == kToFloats) {
    float* out = static_cast<float*>(c.output) + pixel.output + row;
    return store_some(out, y, n_valid);
  }
  const Ints q = add_ints(round_to_ints(minimum(maximum(y, f.low), f.high)), f.zero);
  uint8_t* out = static_cast<uint8_t*>(c.output) + pixel.output + row;
  store_some_bytes(out, q, n_valid);
}

// The same where it is not worth a copy of the code for each kind.
__attribute__((noinline)) void finish_any(const Conv& c, const Finish& f, int n, const Pixel& pixel, int64_t index,
                                          Floats sum) {
  if (c.epilogue.to_float) return finish<kToFloats>(c, f, n, pixel, index, sum);
  if (c.residual) return finish<kToBytesResidual>(c, f, n, pixel, index, sum);
  finish<kToBytes>(c, f, n, pixel, index, sum);
}

// Adds the products of MR pixels and NR decoded blocks, [block][n_quads][64], to the sums.
template <int MR, int NR, bool ANY>
DSNN_INLINE void multiply(const Part& part, const int8_t* values, int64_t block_stride, const Pixel* pixels,
                          Ints (&sums)[MR][NR]) {
  for (int run = 0; run < part.n_runs; ++run) {
    const uint8_t* rows[MR];
    each<MR>([&](auto m) DSNN_LAMBDA { rows[m] = pixels[m].input + part.offsets[run]; });
    const int64_t end = 4 * static_cast<int64_t>(part.run_quads);
    for (int64_t at = 0; at < end; at += 4, values += 64) {
      Bytes weights[NR];
      each<NR>([&](auto n) DSNN_LAMBDA { weights[n] = load_bytes(values + n * block_stride); });
      each<MR>([&](auto m) DSNN_LAMBDA {
        const Quad quad = load_quad(rows[m] + at);
        each<NR>([&](auto n) DSNN_LAMBDA {
          sums[m][n] = ANY ? dot_any(sums[m][n], quad, weights[n]) : dot(sums[m][n], quad, weights[n]);
        });
      });
    }
  }
}

// The same for one block alone, whose quads come in interleaved pairs: half as many activations to load.
template <int MR>
DSNN_INLINE void multiply_pairs(const Part& part, const int8_t* values, const Pixel* pixels, Ints (&sums)[MR][1]) {
  Ints halves[MR][2];
  each<MR>([&](auto m) DSNN_LAMBDA { halves[m][0] = halves[m][1] = zero_ints(); });
  for (int run = 0; run < part.n_runs; ++run) {
    const uint8_t* rows[MR];
    each<MR>([&](auto m) DSNN_LAMBDA { rows[m] = pixels[m].input + part.offsets[run]; });
    const int64_t end = 4 * static_cast<int64_t>(part.run_quads);
    for (int64_t at = 0; at < end; at += 8, values += 128) {
      const Bytes first = load_bytes(values), second = load_bytes(values + 64);
      each<MR>([&](auto m) DSNN_LAMBDA {
        const Quad pair = load_pair(rows[m] + at);
        halves[m][0] = dot(halves[m][0], pair, first);
        halves[m][1] = dot(halves[m][1], pair, second);
      });
    }
  }
  each<MR>([&](auto m) DSNN_LAMBDA {
    sums[m][0] = add_ints(sums[m][0], join(settled(halves[m][0]), settled(halves[m][1])));
  });
}

template <int MR, int NR, bool ANY, Kind KIND>
DSNN_INLINE void tile(const Part& part, const int8_t* values, int64_t block_stride, const Finish& f, Walk& walk,
                      int64_t index) {
  Pixel pixels[MR];
  for (int m = 0; m < MR; ++m) pixels[m] = walk.next();
  Ints sums[MR][NR];
  each<MR>([&](auto m) DSNN_LAMBDA { each<NR>([&](auto n) DSNN_LAMBDA { sums[m][n] = f.start[n]; }); });
  if constexpr (kHasPairs && NR == 1 && !ANY) {
    if (part.paired)
      multiply_pairs<MR>(part, values, pixels, sums);
    else
      multiply<MR, NR, ANY>(part, values, block_stride, pixels, sums);
  } else {
    multiply<MR, NR, ANY>(part, values, block_stride, pixels, sums);
  }
  each<MR>([&](auto m) DSNN_LAMBDA { each<NR>([&](auto n) DSNN_LAMBDA { sums[m][n] = settled(sums[m][n]); }); });
  each<MR>([&](auto m) DSNN_LAMBDA {
    each<NR>([&](auto n) DSNN_LAMBDA {
      if constexpr (KIND == kAnyKind)
        finish_any(*part.conv, f, n, pixels[m], index + m, to_floats(sums[m][n]));
      else
        finish<KIND>(*part.conv, f, n, pixels[m], index + m, to_floats(sums[m][n]));
    });
  });
}

// A tile of `size` pixels, 1 to MR.
template <int MR, int NR, bool ANY>
void tile_of(int size, const Part& part, const int8_t* values, int64_t block_stride, const Finish& f, Walk& walk,
             int64_t index) {
  if (size == MR) return tile<MR, NR, ANY, kAnyKind>(part, values, block_stride, f, walk, index);
  if constexpr (MR > 1) tile_of<MR - 1, NR, ANY>(size, part, values, block_stride, f, walk, index);
}

// All pixels of the part on NR decoded blocks. The last tiles share what is left evenly.
template <int NR, bool ANY, Kind KIND>
void tiles(const Part& part, const int8_t* values, int64_t block_stride, const Finish& f) {
  constexpr int MR = kTile * NR > 24 ? 24 / NR : kTile;  // sums for 24 registers
  int64_t index = part.first_pixel;
  Walk walk(part, index);
  const int64_t n_left = part.end_pixel - index, n_uneven = n_left % MR == 0 ? 0 : n_left < 2 * MR ? n_left : n_left % MR + MR;
  for (const int64_t end = part.end_pixel - n_uneven; index < end; index += MR)
    tile<MR, NR, ANY, KIND>(part, values, block_stride, f, walk, index);
  while (index < part.end_pixel) {
    const int left = static_cast<int>(part.end_pixel - index), size = left > MR ? (left + 1) / 2 : left;
    tile_of<MR, NR, ANY>(size, part, values, block_stride, f, walk, index);
    index += size;
  }
}

template <int NR, bool ANY>
void tiles_of_kind(const Part& part, const int8_t* values, int64_t block_stride, const Finish& f) {
  const Conv& c = *part.conv;
  if (c.epilogue.to_float) return tiles<NR, ANY, kToFloats>(part, values, block_stride, f);
  if (c.residual) return tiles<NR, ANY, kToBytesResidual>(part, values, block_stride, f);
  return tiles<NR, ANY, kToBytes>(part, values, block_stride, f);
}

template <int NR>
void tiles_of(const Part& part, const int8_t* values, int64_t block_stride, const Finish& f) {
  if constexpr (!kAnyIsSame)
    if (part.conv->weight.bits == 8) return tiles_of_kind<NR, true>(part, values, block_stride, f);
  return tiles_of_kind<NR, false>(part, values, block_stride, f);
}

// Lays the quads of a decoded block out for multiply_pairs.
void interleave_quads(int8_t* values, int n_quads) {
  for (int quad = 0; quad < n_quads; quad += 2) {
    Bytes a = load_bytes(values + 64 * quad), b = load_bytes(values + 64 * quad + 64);
    interleave(&a, &b);
    store_bytes(values + 64 * quad, a);
    store_bytes(values + 64 * quad + 64, b);
  }
}

}  // namespace
}  // namespace dsnn
