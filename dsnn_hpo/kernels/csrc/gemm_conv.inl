// The parts of a convolution: which blocks and pixels, and which way they go.

namespace dsnn {
namespace {

// Blocks [first, end) of the part's group.
void blocks(Part& part, int first, int end) {
  const Weight& weight = part.conv->weight;
  if (weight.operation != Operation::kProduct) return adder_blocks(part, first, end);
  const int n_blocks = (part.conv->out_channels + 15) / 16;
  const int64_t bytes = block_bytes(weight), decoded = int64_t{64} * weight.n_quads;
  const uint8_t* codes = weight.codes + static_cast<int64_t>(part.group) * n_blocks * bytes;
  const uint8_t* planes = weight.bits == 8 ? nullptr : weight.n_planes + static_cast<int64_t>(part.group) * n_blocks;
  const bool is_direct = weight.bits != 8 && part.end_pixel - part.first_pixel <= kMaxDirect;
  int8_t* values = reinterpret_cast<int8_t*>(scratch(0, decoded * (kBlocks > kMaxPlanes ? kBlocks : kMaxPlanes)));
  for (int block = first; block < end;) {
    if (planes && planes[block] > 1) {
      for (int plane = 0; plane < planes[block]; ++plane)
        decode_block(weight, codes + block * bytes, plane, values + plane * decoded);
      blocks_of_planes(part, values, planes[block], make_finish(part, block, 1));
      ++block;
      continue;
    }
    if constexpr (kMaxDirect > 0) {
      if (is_direct) {
        direct<kMaxDirect>(part, codes + block * bytes, make_finish(part, block, 1));
        ++block;
        continue;
      }
    }
    int n = 1;
    while (n < kBlocks && block + n < end && !(planes && planes[block + n] > 1)) ++n;
    if (n == 3) n = 2;
    for (int i = 0; i < n; ++i) decode_block(weight, codes + (block + i) * bytes, 0, values + i * decoded);
    part.paired = kHasPairs && n == 1 && part.run_quads % 2 == 0 && (kAnyIsSame || weight.bits != 8);
    if (part.paired) interleave_quads(values, weight.n_quads);
    const Finish f = make_finish(part, block, n);
    if constexpr (kBlocks >= 4) {
      if (n == 4) tiles_of<4>(part, values, decoded, f);
      if (n == 2) tiles_of<2>(part, values, decoded, f);
    }
    if (n == 1) tiles_of<1>(part, values, decoded, f);
    block += n;
  }
}

// Splits [0, n) into n_parts ranges of multiples of `unit`; returns the bounds of one.
void split(int64_t n, int64_t unit, int part, int n_parts, int64_t* first, int64_t* end) {
  const int64_t n_units = (n + unit - 1) / unit;
  *first = n_units * part / n_parts * unit;
  *end = n_units * (part + 1) / n_parts * unit;
  if (*end > n) *end = n;
}

// Offsets of the runs of a pixel's activations; returns how many there are, and the quads of each.
int runs_of(const Conv& c, int64_t* offsets, int* run_quads) {
  const bool merged = c.dilation_w == 1 && c.in_channels == c.in_pixel && c.kernel_w > 1;
  int n = 0;
  for (int i = 0; i < c.kernel_h; ++i)
    for (int j = 0; j < (merged ? 1 : c.kernel_w); ++j)
      offsets[n++] = static_cast<int64_t>(i) * c.dilation_h * c.in_row + static_cast<int64_t>(j) * c.dilation_w * c.in_pixel;
  *run_quads = c.in_channels / 4 * (merged ? c.kernel_w : 1);
  return n;
}

void gemm_conv(const Conv& c, int part_index, int n_parts) {
  const int64_t n_pixels = static_cast<int64_t>(c.n_images) * c.out_h * c.out_w;
  const int n_blocks = (c.out_channels + 15) / 16, n_taps = c.kernel_h * c.kernel_w;
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch(1, 8 * (static_cast<int64_t>(n_taps) + c.weight.n_quads)));
  Part part{};
  part.conv = &c;
  part.n_runs = runs_of(c, offsets, &part.run_quads);
  part.offsets = offsets;
  int64_t* quad_offsets = offsets + n_taps;
  for (int run = 0; run < part.n_runs; ++run)
    for (int quad = 0; quad < part.run_quads; ++quad)
      quad_offsets[static_cast<int64_t>(run) * part.run_quads + quad] = offsets[run] - offsets[0] + 4 * quad;
  part.quad_offsets = quad_offsets;
  // Few pixels: threads share the rows, so that no block is decoded twice.
  const bool by_rows = n_pixels < 64 * n_parts && n_blocks >= n_parts;
  int64_t first_block = 0, end_block = n_blocks;
  part.first_pixel = 0;
  part.end_pixel = n_pixels;
  if (by_rows)
    split(n_blocks, 1, part_index, n_parts, &first_block, &end_block);
  else
    split(n_pixels, 24, part_index, n_parts, &part.first_pixel, &part.end_pixel);
  if (part.first_pixel >= part.end_pixel || first_block >= end_block) return;
  for (part.group = 0; part.group < c.groups; ++part.group) {
    part.row0 = static_cast<int64_t>(part.group) * c.out_channels;
    blocks(part, static_cast<int>(first_block), static_cast<int>(end_block));
  }
}

}  // namespace
}  // namespace dsnn
