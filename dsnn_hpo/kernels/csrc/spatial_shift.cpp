// The C ABI of the spatial shift: an index move of whole planes, or of runs of channels.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dsnn_kernels.h"
#include "isa.hpp"

namespace dsnn {
namespace {

// About 30 us of copies on one core: below it, waking threads costs more than they save.
constexpr int64_t kSerialBytes = 1 << 19;

struct Image {
  int64_t n_channels, height, width;
};

// What a group of channels does: it takes the pixel `down` rows below and `right` columns to the right of each.
struct Move {
  int64_t down, right;
};

// What all rows and planes share.
struct Shift {
  Image image;
  int64_t group_size, reach;
  std::vector<Move> moves;  // one a group
};

Shift make_shift(const int64_t* shape, int64_t kernel_size, int64_t step) {
  const int64_t half = kernel_size / 2;
  Shift shift = {{shape[1], shape[2], shape[3]}, shape[1] / (kernel_size * kernel_size), half * std::abs(step), {}};
  for (int64_t down = -half; down <= half; ++down)
    for (int64_t right = -half; right <= half; ++right) shift.moves.push_back({down * step, right * step});
  if (shift.group_size == 0) shift.moves.clear();
  return shift;
}

// Of a row or column, the part [first, last) whose source lies inside the image; empty parts begin at the length.
struct Inside {
  int64_t first, last;
};

Inside inside(int64_t distance, int64_t length) {
  const int64_t first = distance < 0 ? -distance : 0;
  const int64_t last = distance > 0 ? length - distance : length;
  if (first >= length || last <= 0) return {length, length};
  return {first, last};
}

// Channels last: one pixel, whose groups may come from outside.
void shift_pixel(const float* x, float* y, const Shift& shift, int64_t row, int64_t column) {
  const Image& of = shift.image;
  const int64_t n = of.n_channels, pixel = (row * of.width + column) * n;
  const float* from = x + pixel;
  float* to = y + pixel;
  int64_t channel = 0;
  for (const Move& move : shift.moves) {
    const int64_t from_row = row + move.down, from_column = column + move.right, end = channel + shift.group_size;
    const bool is_inside = from_row >= 0 && from_row < of.height && from_column >= 0 && from_column < of.width;
    const int64_t offset = is_inside ? (move.down * of.width + move.right) * n : 0;
    for (; channel < end; ++channel) to[channel] = is_inside ? from[channel + offset] : 0.0f;
  }
  for (; channel < n; ++channel) to[channel] = from[channel];
}

// Channels last: pixels [first, last), counted through the rows, with the groups whose source row lies inside the image at
// `row`. All sources must lie in the image's memory, be they of a neighbouring row.
void shift_pixels(const float* x, float* y, const Shift& shift, int64_t row, Inside pixels, ChannelRun* runs) {
  const Image& of = shift.image;
  const int64_t n = of.n_channels;
  int64_t channel = 0;
  int n_runs = 0;
  for (const Move& move : shift.moves) {
    const int64_t from_row = row + move.down;
    if (from_row >= 0 && from_row < of.height)
      runs[n_runs++] = {channel, shift.group_size, (move.down * of.width + move.right) * n};
    channel += shift.group_size;
  }
  if (channel < n) runs[n_runs++] = {channel, n - channel, 0};
  isa().move_pixels({x + pixels.first * n, y + pixels.first * n, pixels.last - pixels.first, n, runs, n_runs});
}

// Channels last: zeros where, in [first, last) of the pixels, a group took its pixel from a neighbouring row.
void clear_wrapped(float* y, const Shift& shift, Inside rows) {
  const int64_t n = shift.image.n_channels, width = shift.image.width, size = shift.group_size;
  int64_t channel = 0;
  for (const Move& move : shift.moves) {
    const Inside columns = inside(move.right, width);
    for (int64_t row = rows.first; row < rows.last && move.right != 0; ++row) {
      float* to = y + row * width * n + channel;
      for (int64_t i = 0; i < columns.first; ++i)
        for (int64_t c = 0; c < size; ++c) to[i * n + c] = 0.0f;
      for (int64_t i = columns.last; i < width; ++i)
        for (int64_t c = 0; c < size; ++c) to[i * n + c] = 0.0f;
    }
    channel += size;
  }
}

// Channels last: rows near the top and bottom one by one, all others as one long row.
void shift_image(const float* x, float* y, const Shift& shift, ChannelRun* runs) {
  const int64_t reach = shift.reach, height = shift.image.height, width = shift.image.width;
  const bool is_wide = width > 2 * reach, has_inner = is_wide && height > 2 * reach;
  for (int64_t row = 0; row < height; ++row) {
    if (has_inner && row == reach) row = height - reach;
    if (row == height) break;
    const int64_t first = is_wide ? reach : width, last = is_wide ? width - reach : width;
    for (int64_t column = 0; column < first; ++column) shift_pixel(x, y, shift, row, column);
    if (is_wide) shift_pixels(x, y, shift, row, {row * width + first, row * width + last}, runs);
    for (int64_t column = last; column < width; ++column) shift_pixel(x, y, shift, row, column);
  }
  if (!has_inner) return;
  shift_pixels(x, y, shift, reach, {reach * width + reach, (height - reach) * width - reach}, runs);
  clear_wrapped(y, shift, {reach, height - reach});
  for (int64_t i = 0; i < reach; ++i) {
    shift_pixel(x, y, shift, reach, i);
    shift_pixel(x, y, shift, height - reach - 1, width - 1 - i);
  }
}

// One plane, channels first: one copy of all rows, then zeros where a row took pixels of its neighbour.
void shift_plane(const float* x, float* y, const Image& of, Move move) {
  const int64_t n_pixels = of.height * of.width, distance = move.down * of.width + move.right;
  const Inside rows = inside(move.down, of.height), columns = inside(move.right, of.width);
  if (rows.first == of.height || columns.first == of.width) {
    std::memset(y, 0, static_cast<size_t>(n_pixels) * sizeof(float));
    return;
  }
  // The first and last pixel with a source; those between them are moved as they lie.
  const int64_t first = rows.first * of.width + columns.first;
  const int64_t last = (rows.last - 1) * of.width + columns.last;
  std::memset(y, 0, static_cast<size_t>(first) * sizeof(float));
  std::memcpy(y + first, x + first + distance, static_cast<size_t>(last - first) * sizeof(float));
  std::memset(y + last, 0, static_cast<size_t>(n_pixels - last) * sizeof(float));
  if (move.right == 0) return;
  const int64_t n_outside = of.width - (columns.last - columns.first);
  for (int64_t row = rows.first; row + 1 < rows.last; ++row) {
    const int64_t end = row * of.width + columns.last;
    for (int64_t i = 0; i < n_outside; ++i) y[end + i] = 0.0f;
  }
}

}  // namespace
}  // namespace dsnn

void dsnn_spatial_shift(const float* x, float* y, const int64_t* shape, int32_t is_channels_last, int32_t kernel_size,
                        int32_t step, int32_t n_threads) {
  const dsnn::Shift shift = dsnn::make_shift(shape, kernel_size, step);
  const dsnn::Image& of = shift.image;
  const int64_t plane = of.height * of.width, n_parts = is_channels_last ? shape[0] : shape[0] * of.n_channels;
  const int64_t n_bytes = shape[0] * of.n_channels * plane * static_cast<int64_t>(sizeof(float));
  const int64_t n_moved = static_cast<int64_t>(shift.moves.size()) * shift.group_size;
#pragma omp parallel num_threads(n_bytes < dsnn::kSerialBytes ? 1 : n_threads)
  {
    // One run a group and one of the channels that stay.
    std::vector<dsnn::ChannelRun> runs(shift.moves.size() + 1);
#pragma omp for schedule(static)
    for (int64_t i = 0; i < n_parts; ++i) {
      if (is_channels_last) {
        dsnn::shift_image(x + i * of.n_channels * plane, y + i * of.n_channels * plane, shift, runs.data());
      } else {
        const int64_t channel = i % of.n_channels;
        const bool is_moved = channel < n_moved;
        const size_t group = is_moved ? static_cast<size_t>(channel / shift.group_size) : 0;
        dsnn::shift_plane(x + i * plane, y + i * plane, of, is_moved ? shift.moves[group] : dsnn::Move{0, 0});
      }
    }
  }
}
