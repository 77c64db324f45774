// A convolution by itself: pads its input image by image and lets the instruction set's kernel do the rest.
#include <cstring>
#include <new>

#include "conv.hpp"
#include "dsnn_kernels.h"
#include "isa.hpp"
#include "parallel.hpp"

namespace dsnn {
namespace {

constexpr int64_t kPaddedBytes = 128 * 1024;  // of padded images that one thread holds at a time

struct Padded {
  int64_t pixel, row, image;  // bytes
  int group_channels;
};

Padded padded_of(const DsnnConv2d& d) {
  Padded p{};
  const int per_group = d.in_channels / d.groups;
  p.group_channels = d.depthwise ? d.in_channels : (per_group + 3) / 4 * 4;
  p.pixel = d.depthwise ? d.in_channels : static_cast<int64_t>(p.group_channels) * d.groups;
  p.row = p.pixel * (d.in_w + d.pad_left + d.pad_right);
  p.image = p.row * (d.in_h + d.pad_top + d.pad_bottom);
  return p;
}

bool needs_padding(const DsnnConv2d& d, const Padded& p) {
  return d.pad_top || d.pad_left || d.pad_bottom || d.pad_right || p.pixel != d.in_channels;
}

// Pixels that hold the zero point in their channels and 0 in the channels that only pad.
void fill_zero(const DsnnConv2d& d, const Padded& p, uint8_t* to, int64_t n_pixels) {
  std::memset(to, d.input_zero, static_cast<size_t>(n_pixels * p.pixel));
  const int per_group = d.in_channels / d.groups;
  if (p.pixel == d.in_channels) return;
  for (int64_t i = 0; i < n_pixels * d.groups; ++i)
    std::memset(to + i * p.group_channels + per_group, 0, p.group_channels - per_group);
}

void copy_pixels(const DsnnConv2d& d, const Padded& p, const uint8_t* from, uint8_t* to, int64_t n_pixels) {
  if (p.pixel == d.in_channels) {
    std::memcpy(to, from, static_cast<size_t>(n_pixels * p.pixel));
    return;
  }
  const int per_group = d.in_channels / d.groups;
  for (int64_t i = 0; i < n_pixels * d.groups; ++i) {
    std::memcpy(to + i * p.group_channels, from + i * per_group, per_group);
    std::memset(to + i * p.group_channels + per_group, 0, p.group_channels - per_group);
  }
}

void pad_image(const DsnnConv2d& d, const Padded& p, const uint8_t* from, uint8_t* to) {
  const int64_t width = d.in_w + d.pad_left + d.pad_right;
  fill_zero(d, p, to, d.pad_top * width);
  for (int y = 0; y < d.in_h; ++y) {
    uint8_t* row = to + (y + d.pad_top) * p.row;
    fill_zero(d, p, row, d.pad_left);
    copy_pixels(d, p, from + static_cast<int64_t>(y) * d.in_w * d.in_channels, row + d.pad_left * p.pixel, d.in_w);
    fill_zero(d, p, row + (d.pad_left + d.in_w) * p.pixel, d.pad_right);
  }
  fill_zero(d, p, to + (d.pad_top + d.in_h) * p.row, d.pad_bottom * width);
}

// The convolution of images [first, first + n) whose padded input is at `input`.
Conv conv_of(const DsnnConv2d& d, const Padded& p, const uint8_t* input, int64_t first, int n) {
  Conv c{};
  c.input = input;
  c.in_image = p.image, c.in_row = p.row, c.in_pixel = p.pixel;
  c.out_pixel = d.out_channels, c.out_row = c.out_pixel * d.out_w, c.out_image = c.out_row * d.out_h;
  const int64_t offset = first * c.out_image;
  c.output = d.to_float ? static_cast<void*>(static_cast<float*>(d.output) + offset)
                        : static_cast<void*>(static_cast<uint8_t*>(d.output) + offset);
  c.residual = d.residual ? d.residual + offset : nullptr;
  c.res_image = c.out_image, c.res_row = c.out_row, c.res_pixel = c.out_pixel;
  c.n_images = n, c.out_h = d.out_h, c.out_w = d.out_w;
  c.kernel_h = d.kernel_h, c.kernel_w = d.kernel_w, c.stride_h = d.stride_h, c.stride_w = d.stride_w;
  c.dilation_h = d.dilation_h, c.dilation_w = d.dilation_w;
  c.depthwise = d.depthwise != 0;
  c.groups = d.depthwise ? 1 : d.groups;
  c.in_channels = p.group_channels;
  c.out_channels = d.depthwise ? d.out_channels : d.out_channels / d.groups;
  c.weight = {d.weight.codes, d.weight.bits, d.weight.has_zero, d.weight.n_quads, d.weight.n_planes, Operation::kProduct, nullptr};
  c.epilogue = {d.scale, d.bias, d.correction, nullptr, d.low, d.high, d.output_zero, d.residual_scale, d.residual_zero,
                d.to_float != 0};
  return c;
}

// Images [first, end), a few at a time, in this thread.
void run_images(const DsnnConv2d& d, const Padded& p, int64_t first, int64_t end) {
  const int64_t in_image = static_cast<int64_t>(d.in_h) * d.in_w * d.in_channels;
  if (!needs_padding(d, p)) {
    if (first < end) isa().conv(conv_of(d, p, d.input + first * in_image, first, static_cast<int>(end - first)), 0, 1);
    return;
  }
  const int64_t n_held = p.image < kPaddedBytes ? kPaddedBytes / p.image : 1;
  uint8_t* padded = scratch(3, n_held * p.image);
  for (int64_t i = first; i < end; i += n_held) {
    const int n = static_cast<int>(end - i < n_held ? end - i : n_held);
    for (int j = 0; j < n; ++j) pad_image(d, p, d.input + (i + j) * in_image, padded + j * p.image);
    isa().conv(conv_of(d, p, padded, i, n), 0, 1);
  }
}

// Part `part` of `n_parts` of the images, each of them whole.
void run_part(const DsnnConv2d& d, const Padded& p, int part, int n_parts) {
  run_images(d, p, int64_t{d.n_images} * part / n_parts, int64_t{d.n_images} * (part + 1) / n_parts);
}

// Few images: the threads share each of them.
bool run_shared(const DsnnConv2d& d, const Padded& p, int n_threads) {
  const uint8_t* input = d.input;
  if (needs_padding(d, p)) {
    const int64_t in_image = static_cast<int64_t>(d.in_h) * d.in_w * d.in_channels;
    uint8_t* padded = scratch(3, d.n_images * p.image);
    for (int i = 0; i < d.n_images; ++i) pad_image(d, p, d.input + i * in_image, padded + i * p.image);
    input = padded;
  }
  const Conv c = conv_of(d, p, input, 0, d.n_images);
  return in_parallel(n_threads, [&](int part) { isa().conv(c, part, n_threads); });
}

bool run(const DsnnConv2d& d, int n_threads) {
  const Padded p = padded_of(d);
  const int64_t n_products = int64_t{64} * d.weight.n_quads * ((d.out_channels + 15) / 16) * d.n_images * d.out_h * d.out_w;
  if (n_threads <= 1 || n_products < kParallelWork) {
    run_part(d, p, 0, 1);
    return true;
  }
  if (d.n_images < 2 * n_threads) return run_shared(d, p, n_threads);
  return in_parallel(n_threads, [&](int part) { run_part(d, p, part, n_threads); });
}

}  // namespace
}  // namespace dsnn

int32_t dsnn_conv2d(const DsnnConv2d* conv, int32_t n_threads) {
  try {
    return dsnn::run(*conv, n_threads) ? 0 : dsnn::kNoMemory;
  } catch (const std::bad_alloc&) {
    return dsnn::kNoMemory;
  }
}
