// Which pixels of an adder layer see which, and its weight in the kernels' order.
#include "adder_task.hpp"

namespace dsnn {
namespace {

AdderSweep forward_sweep(const DsnnAdder& d) {
  AdderSweep s{0, 0, 1, 1, d.out_h, d.out_w, d.stride_h, d.stride_w, {}, {}, {}, {}, {}};
  for (int32_t i = 0; i < d.kernel_h; ++i)
    for (int32_t j = 0; j < d.kernel_w; ++j)
      s.taps.push_back({i * d.dilation_h - d.pad_h, j * d.dilation_w - d.pad_w, i * d.kernel_w + j});
  return s;
}

// The input pixels whose coordinates are (y, x) modulo the stride: tap (i, j) of output pixel (p, q) reads input pixel
// (p * stride_h + i * dilation_h - pad_h, ..). Backwards, so that neighbours in memory follow each other.
AdderSweep gradient_sweep(const DsnnAdder& d, int32_t y, int32_t x) {
  AdderSweep s{y, x, d.stride_h, d.stride_w, (d.in_h - y + d.stride_h - 1) / d.stride_h, (d.in_w - x + d.stride_w - 1) / d.stride_w,
          1, 1, {}, {}, {}, {}, {}};
  for (int32_t i = d.kernel_h - 1; i >= 0; --i)
    for (int32_t j = d.kernel_w - 1; j >= 0; --j) {
      const int32_t p = y + d.pad_h - i * d.dilation_h, q = x + d.pad_w - j * d.dilation_w;
      if (p % d.stride_h == 0 && q % d.stride_w == 0) s.taps.push_back({p / d.stride_h, q / d.stride_w, i * d.kernel_w + j});
    }
  return s;
}

int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

void set_padding(AdderTask& t) {
  for (const AdderSweep& s : t.sweeps)
    for (const AdderTap& tap : s.taps) {
      t.top = larger(t.top, -tap.y);
      t.left = larger(t.left, -tap.x);
      t.bottom = larger(t.bottom, tap.y + (s.n_y - 1) * s.source_step_y - (t.source_h - 1));
      t.right = larger(t.right, tap.x + (s.n_x - 1) * s.source_step_x - (t.source_w - 1));
    }
  t.pixel = t.source_channels;
  t.row = t.pixel * (int64_t{t.source_w} + t.left + t.right);
  t.image = t.row * t.padded_rows();
}

void set_runs(const AdderTask& t, AdderSweep& s) {
  const bool joins = !t.depthwise && t.groups == 1;
  const AdderTap* before = nullptr;
  for (const AdderTap& tap : s.taps) {
    s.sums_at.push_back((tap.y + t.top) * t.row_sums() + (tap.x + t.left) * t.groups);
    if (joins && before && tap.y == before->y && tap.x == before->x + 1)
      s.runs.back().length += t.n_channels;
    else
      s.runs.push_back({(tap.y + t.top) * t.row + (tap.x + t.left) * t.pixel, t.n_channels});
    before = &tap;
  }
}

// The weight for the kernels; and of the lanes the sums in the forward pass, NaN where a weight is in the input gradient.
void set_weight(const AdderTask& t, const float* weight, int64_t n_taps, AdderSweep& s) {
  const int64_t n_lanes = t.groups * t.n_blocks() * 16, n_columns = static_cast<int64_t>(s.taps.size()) * t.n_channels;
  s.weight.assign(n_lanes * n_columns, 0.0f);
  std::vector<double> sums(n_lanes, 0.0);
  each_weight(t, s, n_taps, [&](int64_t from, int64_t to) {
    const float value = weight[from];
    s.weight[to] = value;
    sums[to / (16 * n_columns) * 16 + to % 16] += t.has_sums() || value != value ? value : 0.0f;
  });
  s.lane_sums.assign(sums.begin(), sums.end());
}

}  // namespace

AdderTask adder_task(const DsnnAdder& d, AdderDirection direction) {
  const int32_t n_rows = d.out_channels / d.groups, n_channels = d.in_channels / d.groups;
  const int64_t n_taps = int64_t{d.kernel_h} * d.kernel_w, row_size = n_channels * n_taps;
  AdderTask t{};
  t.direction = direction, t.n_images = d.n_images, t.exponent = d.exponent;
  t.depthwise = n_rows == 1 && n_channels == 1 && d.groups > 1;
  t.groups = t.depthwise ? 1 : d.groups;
  if (direction == AdderDirection::kGradInput) {
    t.source = d.grad, t.source_h = d.out_h, t.source_w = d.out_w, t.source_channels = d.out_channels;
    t.target = d.output, t.target_h = d.in_h, t.target_w = d.in_w, t.target_channels = d.in_channels;
    t.x = d.x, t.n_lanes = n_channels, t.n_channels = n_rows, t.lane_stride = n_taps, t.channel_stride = row_size;
    for (int32_t y = 0; y < d.stride_h && y < d.in_h; ++y)
      for (int32_t x = 0; x < d.stride_w && x < d.in_w; ++x) t.sweeps.push_back(gradient_sweep(d, y, x));
  } else {
    t.source = d.x, t.source_h = d.in_h, t.source_w = d.in_w, t.source_channels = d.in_channels;
    t.target = d.output, t.target_h = d.out_h, t.target_w = d.out_w, t.target_channels = d.out_channels;
    t.n_lanes = n_rows, t.n_channels = n_channels, t.lane_stride = row_size, t.channel_stride = n_taps;
    t.sweeps.push_back(forward_sweep(d));
  }
  if (direction == AdderDirection::kGradWeight) {
    t.grad = d.grad, t.n_lanes = n_channels, t.n_channels = n_rows, t.lane_stride = n_taps, t.channel_stride = row_size;
  }
  if (t.depthwise) t.n_lanes = d.groups, t.lane_stride = n_taps;
  set_padding(t);
  for (AdderSweep& s : t.sweeps) {
    set_runs(t, s);
    set_weight(t, d.weight, n_taps, s);
  }
  return t;
}

}  // namespace dsnn
