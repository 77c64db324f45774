// Moves channels of NHWC images by pixels: a few bytes from one pixel to another, again and again.
#include "shift_channels.hpp"

#include <cstring>

namespace dsnn {
namespace {

// Bytes of a row's pixels from one image to another; `from` and `to` are the first channels of the first pixels.
struct Row {
  const uint8_t* from;
  int64_t from_pixel;
  uint8_t* to;
  int64_t to_pixel;
};

// n channels of each pixel, in pieces of W <= n bytes; the last one may overlap with the one before.
template <int W>
void copy_pieces(const Row& row, int n, int n_pixels) {
  for (int64_t x = 0; x < n_pixels; ++x) {
    const uint8_t* from = row.from + x * row.from_pixel;
    uint8_t* to = row.to + x * row.to_pixel;
    for (int i = 0; i + W <= n; i += W) std::memcpy(to + i, from + i, W);
    std::memcpy(to + n - W, from + n - W, W);
  }
}

void copy_row(const Row& row, int n, int n_pixels) {
  if (n >= 16) return copy_pieces<16>(row, n, n_pixels);
  if (n >= 8) return copy_pieces<8>(row, n, n_pixels);
  if (n >= 4) return copy_pieces<4>(row, n, n_pixels);
  if (n >= 2) return copy_pieces<2>(row, n, n_pixels);
  copy_pieces<1>(row, n, n_pixels);
}

void fill_row(uint8_t* to, int64_t pixel, uint8_t value, int n, int64_t n_pixels) {
  for (int64_t x = 0; x < n_pixels; ++x) std::memset(to + x * pixel, value, static_cast<size_t>(n));
}

int32_t between(int32_t value, int32_t low, int32_t high) { return value < low ? low : value > high ? high : value; }

}  // namespace

void shift_channels(const ShiftStep& s, int part, int n_parts) {
  const View &in = s.source, &out = s.target;
  const int64_t n_rows = static_cast<int64_t>(s.n_images) * out.height;
  for (int64_t i = n_rows * part / n_parts; i < n_rows * (part + 1) / n_parts; ++i) {
    const int64_t image = i / out.height, y = i % out.height;
    const uint8_t* from = in.data + image * in.image;
    uint8_t* to = out.data + image * out.image + y * out.row;
    for (const int32_t* move = s.moves; move < s.moves + 3 * int64_t{s.n_moves}; move += 3) {
      const int32_t n = move[0], right = move[2];
      const int64_t source_y = y + move[1];
      const bool has_row = source_y >= 0 && source_y < in.height;
      const int32_t first = has_row ? between(-right, 0, out.width) : out.width;
      const int32_t end = has_row ? between(out.width - right, first, out.width) : out.width;
      fill_row(to, out.pixel, static_cast<uint8_t>(out.zero), n, first);
      if (first < end)
        copy_row({from + source_y * in.row + (first + int64_t{right}) * in.pixel, in.pixel, to + first * out.pixel, out.pixel},
                 n, end - first);
      fill_row(to + end * out.pixel, out.pixel, static_cast<uint8_t>(out.zero), n, out.width - end);
      from += n;
      to += n;
    }
  }
}

}  // namespace dsnn
