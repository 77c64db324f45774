// Depthwise convolution on 8-bit activations: 16 channels at a time, a product or distance a tap.

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

// The sum and one more term; of kMinimum the mirrored weight lies one block of all taps further.
template <Operation OPERATION>
DSNN_INLINE Ints add_tap(Ints sum, Ints q, const int32_t* weight, int n_taps) {
  const Ints w = load_ints(weight);
  if constexpr (OPERATION == Operation::kProduct) return add_ints(sum, mul_ints(q, w));
  if constexpr (OPERATION == Operation::kMinimum) sum = add_ints(sum, abs_ints(sub_ints(q, load_ints(weight + 16 * n_taps))));
  return sub_ints(sum, abs_ints(sub_ints(q, w)));
}

template <Operation OPERATION, Kind KIND, int MR>
DSNN_INLINE void depthwise_tile(const Part& part, const int32_t* weights, int n_taps, const Finish& f, int channel,
                                Walk& walk, int64_t index) {
  Pixel pixels[MR];
  Ints sums[MR];
  for (int m = 0; m < MR; ++m) {
    pixels[m] = walk.next();
    sums[m] = f.start[0];
  }
  for (int tap = 0; tap < n_taps; ++tap) {
#pragma GCC unroll 4
    for (int m = 0; m < MR; ++m) {
      const uint8_t* at = pixels[m].input + part.offsets[tap] + channel;
      sums[m] = add_tap<OPERATION>(sums[m], load_some_bytes(at, f.n_valid[0]), weights + 16 * tap, n_taps);
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < MR; ++m) finish<KIND>(*part.conv, f, 0, pixels[m], index + m, to_floats(sums[m]));
}

template <Operation OPERATION, Kind KIND>
void depthwise_narrow(const Part& part, const int32_t* weights, int n_taps, const Finish& f, int channel) {
  int64_t index = part.first_pixel;
  Walk walk(part, index);
  for (; index + kDepthwiseTile <= part.end_pixel; index += kDepthwiseTile)
    depthwise_tile<OPERATION, KIND, kDepthwiseTile>(part, weights, n_taps, f, channel, walk, index);
  for (; index < part.end_pixel; ++index) depthwise_tile<OPERATION, KIND, 1>(part, weights, n_taps, f, channel, walk, index);
}

template <Operation OPERATION>
void depthwise_of(const Part& part, const int32_t* weights, int n_taps, const Finish& f, int channel) {
  const Conv& c = *part.conv;
  if (c.epilogue.to_float) return depthwise_narrow<OPERATION, kToFloats>(part, weights, n_taps, f, channel);
  if (c.residual) return depthwise_narrow<OPERATION, kToBytesResidual>(part, weights, n_taps, f, channel);
  depthwise_narrow<OPERATION, kToBytes>(part, weights, n_taps, f, channel);
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
  depthwise_of<Operation::kProduct>(part, narrow, n_taps, f, 16 * block);
}

// The same for adders.
void depthwise_adder_block(const Part& part, int block, int n_taps) {
  const Weight& weight = part.conv->weight;
  const bool is_minimum = weight.operation == Operation::kMinimum;
  const uint8_t* codes = weight.codes + block * block_bytes(weight);
  int32_t* weights = reinterpret_cast<int32_t*>(scratch(2, int64_t{128} * n_taps));
  for (int half = 0; half < (is_minimum ? 2 : 1); ++half, codes += int64_t{64} * weight.n_quads)
    for (int tap = 0; tap < n_taps; ++tap)
      for (int row = 0; row < 16; ++row)
        weights[16 * (half * n_taps + tap) + row] = codes[tap / 4 * 64 + row * 4 + tap % 4];
  const Finish f = make_finish(part, block, 1);
  if (is_minimum) return depthwise_of<Operation::kMinimum>(part, weights, n_taps, f, 16 * block);
  depthwise_of<Operation::kDistance>(part, weights, n_taps, f, 16 * block);
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
  for (int block = 0; block < n_blocks; ++block)
    if (c.weight.operation == Operation::kProduct)
      depthwise_block(part, block, n_taps);
    else
      depthwise_adder_block(part, block, n_taps);
}

void conv(const Conv& c, int part, int n_parts) {
  if (c.weight.operation == Operation::kWinograd)
    winograd_conv(c, part, n_parts);
  else if (c.depthwise)
    depthwise_conv(c, part, n_parts);
  else
    gemm_conv(c, part, n_parts);
}

}  // namespace
}  // namespace dsnn
