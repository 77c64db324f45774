// Depthwise convolution on 8-bit activations: 16 channels at a time, a product a tap.

namespace dsnn {
namespace {

// Sums of products of 255 and 64 fit 32 bits for all rows that can be packed, of 255 and 2**13 for up to 1028 taps.
bool is_narrow(int n_planes, int n_taps) { return n_planes == 1 || (n_planes == 2 && n_taps <= 1028); }

constexpr int kDepthwiseTile = 4;

// The weights of 16 channels as integers, [tap][16], from the planes of a block.
void depthwise_weights(const Weight& weight, const uint8_t* codes, int n_planes, int n_taps, int64_t* out) {
  int8_t* values = reinterpret_cast<int8_t*>(scratch(0, int64_t{64} * weight.n_quads));
  for (int i = 0; i < 16 * n_taps; ++i) out[i] = 0;
  for (int plane = 0; plane < n_planes; ++plane) {
    decode_block(weight, codes, plane, values);
    for (int tap = 0; tap < n_taps; ++tap)
      for (int row = 0; row < 16; ++row)
        out[16 * tap + row] += static_cast<int64_t>(values[tap / 4 * 64 + row * 4 + tap % 4]) * (int64_t{1} << (7 * plane));
  }
}

template <Kind KIND, int MR>
DSNN_INLINE void depthwise_tile(const Part& part, const int32_t* weights, int n_taps, const Finish& f, int channel,
                                Walk& walk, int64_t index) {
  Pixel pixels[MR];
  Ints sums[MR];
  for (int m = 0; m < MR; ++m) {
    pixels[m] = walk.next();
    sums[m] = f.start[0];
  }
  for (int tap = 0; tap < n_taps; ++tap) {
    const Ints weight = load_ints(weights + 16 * tap);
#pragma GCC unroll 4
    for (int m = 0; m < MR; ++m) {
      const uint8_t* at = pixels[m].input + part.offsets[tap] + channel;
      sums[m] = add_ints(sums[m], mul_ints(load_some_bytes(at, f.n_valid[0]), weight));
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < MR; ++m) finish<KIND>(*part.conv, f, 0, pixels[m], index + m, to_floats(sums[m]));
}

template <Kind KIND>
void depthwise_narrow(const Part& part, const int32_t* weights, int n_taps, const Finish& f, int channel) {
  int64_t index = part.first_pixel;
  Walk walk(part, index);
  for (; index + kDepthwiseTile <= part.end_pixel; index += kDepthwiseTile)
    depthwise_tile<KIND, kDepthwiseTile>(part, weights, n_taps, f, channel, walk, index);
  for (; index < part.end_pixel; ++index) depthwise_tile<KIND, 1>(part, weights, n_taps, f, channel, walk, index);
}

void depthwise_wide(const Part& part, const int64_t* weights, int n_taps, const Finish& f, int channel) {
  Walk walk(part, part.first_pixel);
  for (int64_t index = part.first_pixel; index < part.end_pixel; ++index) {
    const Pixel pixel = walk.next();
    int64_t total[16] = {0};
    for (int tap = 0; tap < n_taps; ++tap)
      for (int i = 0; i < f.n_valid[0]; ++i)
        total[i] += pixel.input[part.offsets[tap] + channel + i] * weights[16 * tap + i];
    finish_wide(part, f, pixel, index, total);
  }
}

void depthwise_block(const Part& part, int block, int n_taps) {
  const Conv& c = *part.conv;
  const int n_planes = c.weight.bits == 8 ? 1 : c.weight.n_planes[block];
  int64_t* weights = reinterpret_cast<int64_t*>(scratch(2, int64_t{192} * n_taps));
  depthwise_weights(c.weight, c.weight.codes + block * block_bytes(c.weight), n_planes, n_taps, weights);
  const Finish f = make_finish(part, block, 1);
  if (!is_narrow(n_planes, n_taps)) return depthwise_wide(part, weights, n_taps, f, 16 * block);
  int32_t* narrow = reinterpret_cast<int32_t*>(weights + 16 * n_taps);
  for (int i = 0; i < 16 * n_taps; ++i) narrow[i] = static_cast<int32_t>(weights[i]);
  if (c.epilogue.to_float) return depthwise_narrow<kToFloats>(part, narrow, n_taps, f, 16 * block);
  if (c.residual) return depthwise_narrow<kToBytesResidual>(part, narrow, n_taps, f, 16 * block);
  depthwise_narrow<kToBytes>(part, narrow, n_taps, f, 16 * block);
}

void depthwise_conv(const Conv& c, int part_index, int n_parts) {
  const int n_taps = c.kernel_h * c.kernel_w, n_blocks = (c.out_channels + 15) / 16;
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch(1, int64_t{8} * n_taps));
  for (int tap = 0; tap < n_taps; ++tap)
    offsets[tap] = tap / c.kernel_w * c.dilation_h * c.in_row + tap % c.kernel_w * c.dilation_w * c.in_pixel;
  Part part{};
  part.conv = &c;
  part.offsets = offsets;
  split(static_cast<int64_t>(c.n_images) * c.out_h * c.out_w, kDepthwiseTile, part_index, n_parts, &part.first_pixel,
        &part.end_pixel);
  if (part.first_pixel >= part.end_pixel) return;
  for (int block = 0; block < n_blocks; ++block) depthwise_block(part, block, n_taps);
}

void conv(const Conv& c, int part, int n_parts) {
  if (c.depthwise)
    depthwise_conv(c, part, n_parts);
  else
    gemm_conv(c, part, n_parts);
}

}  // namespace
}  // namespace dsnn
