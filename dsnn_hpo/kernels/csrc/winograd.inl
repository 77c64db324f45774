// The Winograd adder on 8-bit activations: tiles of 4x4 pixels are transformed to 16 bits, 16 places of them meet the weight by
// distances, and each output is a sum of nine of those. See `WinogradWeight` in plan_weight.py.

namespace dsnn {
namespace {

constexpr int kChunkTiles = 32;    // tiles that are transformed together
constexpr int kWinogradTile = 4;   // tiles that share a load of the weight

// a + SIGN * b of N values
template <int SIGN, int N, typename IN>
DSNN_INLINE void combine(const IN* __restrict a, const IN* __restrict b, int16_t* __restrict out) {
  for (int c = 0; c < N; ++c) out[c] = static_cast<int16_t>(a[c] + SIGN * b[c]);
}

// B' of four times N values that lie `from` apart; the results lie `to` apart.
template <int N, typename IN>
DSNN_INLINE void transform_four(const IN* d, int64_t from, int16_t* out, int64_t to) {
  combine<-1, N>(d, d + 2 * from, out);
  combine<1, N>(d + from, d + 2 * from, out + to);
  combine<-1, N>(d + 2 * from, d + from, out + 2 * to);
  combine<-1, N>(d + from, d + 3 * from, out + 3 * to);
}

// B' d B of N channels of the tile that begins at `tile`; the 16 places lie `step` apart.
template <int N>
void transform_channels(const Conv& c, const uint8_t* tile, int16_t* out, int64_t step) {
  int16_t half[16 * N];
  for (int x = 0; x < 4; ++x) transform_four<N>(tile + x * c.in_pixel, c.in_row, half + x * N, int64_t{4} * N);
  for (int y = 0; y < 4; ++y) transform_four<N>(half + 4 * N * y, int64_t{N}, out + 4 * y * step, step);
}

// The same of n channels, a multiple of four.
void transform_tile(const Conv& c, const uint8_t* tile, int n, int16_t* out) {
  int first = 0;
  for (; first + 32 <= n; first += 32) transform_channels<32>(c, tile + first, out + first, n);
  for (; first + 16 <= n; first += 16) transform_channels<16>(c, tile + first, out + first, n);
  for (; first < n; first += 4) transform_channels<4>(c, tile + first, out + first, n);
}

// A tile's first pixel, and how many rows and columns of outputs it has.
struct TilePlace {
  int64_t image;
  int y, x, n_rows, n_columns;
};

TilePlace place_of(const Conv& c, int64_t index) {
  const int across = (c.out_w + 1) / 2, down = (c.out_h + 1) / 2;
  TilePlace p{};
  p.x = static_cast<int>(index % across) * 2;
  p.y = static_cast<int>(index / across % down) * 2;
  p.image = index / across / down;
  p.n_rows = p.y + 1 < c.out_h ? 2 : 1;
  p.n_columns = p.x + 1 < c.out_w ? 2 : 1;
  return p;
}

// The four outputs, a row each, of MR tiles: the terms of the 16 places by the signs of the output's transform.
template <int MR>
DSNN_INLINE void winograd_sums(const Part& part, const int16_t* tiles, const uint8_t* values, Ints (&outputs)[MR][4]) {
  const Conv& c = *part.conv;
  const int n = c.in_channels, n_pairs = n / 2;
  const int32_t* signs = c.weight.output_transform;
  for (int place = 0; place < 16; ++place, tiles += n, values += int64_t{64} * n_pairs) {
    Ints sums[MR];
    each<MR>([&](auto m) DSNN_LAMBDA { sums[m] = zero_ints(); });
    for (int pair = 0; pair < n_pairs; ++pair) {
      const Bytes u = load_bytes(values + 64 * static_cast<int64_t>(pair));
      each<MR>([&](auto m) DSNN_LAMBDA {
        sums[m] = sub_wide_distances(sums[m], tiles + int64_t{16} * m * n + 2 * pair, u);
      });
    }
    for (int output = 0; output < 4; ++output) {
      const int32_t sign = signs[output / 2 * 4 + place / 4] * signs[output % 2 * 4 + place % 4];
      if (sign > 0) each<MR>([&](auto m) DSNN_LAMBDA { outputs[m][output] = add_ints(outputs[m][output], sums[m]); });
      if (sign < 0) each<MR>([&](auto m) DSNN_LAMBDA { outputs[m][output] = sub_ints(outputs[m][output], sums[m]); });
    }
  }
}

template <int MR>
void winograd_tiles(const Part& part, const int16_t* tiles, const TilePlace* places, const uint8_t* values, const Finish& f) {
  const Conv& c = *part.conv;
  Ints outputs[MR][4];
  for (int m = 0; m < MR; ++m)
    for (int i = 0; i < 4; ++i) outputs[m][i] = f.start[0];
  winograd_sums<MR>(part, tiles, values, outputs);
  for (int m = 0; m < MR; ++m)
    for (int i = 0; i < 4; ++i) {
      const TilePlace& p = places[m];
      if (i / 2 >= p.n_rows || i % 2 >= p.n_columns) continue;
      const int64_t y = p.y + i / 2, x = p.x + i % 2;
      const Pixel pixel = {nullptr, p.image * c.out_image + y * c.out_row + x * c.out_pixel,
                           p.image * c.res_image + y * c.res_row + x * c.res_pixel};
      finish_any(c, f, 0, pixel, 0, to_floats(outputs[m][i]));
    }
}

// Tiles [first, end), at most kChunkTiles, of the part's group.
void winograd_chunk(const Part& part, int64_t first, int64_t end, int16_t* tiles) {
  const Conv& c = *part.conv;
  const int n = c.in_channels, n_tiles = static_cast<int>(end - first), n_blocks = (c.out_channels + 15) / 16;
  const int64_t tile_size = int64_t{16} * n, bytes = block_bytes(c.weight);
  TilePlace places[kChunkTiles];
  for (int t = 0; t < n_tiles; ++t) {
    places[t] = place_of(c, first + t);
    const TilePlace& p = places[t];
    const uint8_t* at = c.input + p.image * c.in_image + p.y * c.in_row + p.x * c.in_pixel + int64_t{part.group} * n;
    transform_tile(c, at, n, tiles + t * tile_size);
  }
  for (int block = 0; block < n_blocks; ++block) {
    const uint8_t* values = c.weight.codes + (int64_t{part.group} * n_blocks + block) * bytes;
    const Finish f = make_finish(part, block, 1);
    int t = 0;
    for (; t + kWinogradTile <= n_tiles; t += kWinogradTile)
      winograd_tiles<kWinogradTile>(part, tiles + t * tile_size, places + t, values, f);
    for (; t < n_tiles; ++t) winograd_tiles<1>(part, tiles + t * tile_size, places + t, values, f);
  }
}

void winograd_conv(const Conv& c, int part_index, int n_parts) {
  const int64_t n_tiles = int64_t{c.n_images} * ((c.out_h + 1) / 2) * ((c.out_w + 1) / 2);
  int64_t first, end;
  split(n_tiles, kWinogradTile, part_index, n_parts, &first, &end);
  int16_t* tiles = reinterpret_cast<int16_t*>(scratch(0, int64_t{32} * kChunkTiles * c.in_channels));
  Part part{};
  part.conv = &c;
  for (part.group = 0; part.group < c.groups; ++part.group) {
    part.row0 = int64_t{part.group} * c.out_channels;
    for (int64_t t = first; t < end; t += kChunkTiles)
      winograd_chunk(part, t, t + kChunkTiles < end ? t + kChunkTiles : end, tiles);
  }
}

}  // namespace
}  // namespace dsnn
