// What a call of an adder layer comes down to.
//
// The forward pass and the input gradient are sweeps: every target pixel sums over taps of a source, which is the input, or
// the output's gradient. With a stride, input pixels see different taps: those that see the same ones are a sweep. The weight
// gradient takes the forward pass's sweep, and every tap sums over all target pixels.
#pragma once
#include <cstdint>
#include <vector>

#include "adder.hpp"
#include "dsnn_kernels.h"

namespace dsnn {

enum class AdderDirection { kForward, kGradInput, kGradWeight };

struct AdderTap {
  int32_t y, x;  // in the source, of the sweep's first pixel
  int32_t index;  // in the weight
};

// Target pixel (first_y + u * step_y, first_x + v * step_x) sums over the taps at (u * source_step_y, v * source_step_x).
struct AdderSweep {
  int32_t first_y, first_x, step_y, step_x, n_y, n_x, source_step_y, source_step_x;
  std::vector<AdderTap> taps;
  std::vector<AdderRun> runs;
  std::vector<int64_t> sums_at;  // of the taps, among the sums of the source's pixels
  std::vector<float> weight, lane_sums;  // a group: blocks of 16 lanes
};

// Source and target of all sweeps.
struct AdderTask {
  AdderDirection direction;
  const float* source;
  int32_t source_h, source_w, source_channels;
  float* target;
  const float* x;     // input gradient: as the target
  const float* grad;  // weight gradient: as the target of the forward pass
  int32_t target_h, target_w, target_channels;
  int32_t n_images, groups, n_lanes, n_channels;  // lanes and source channels of a group
  int64_t lane_stride, channel_stride;            // in the weight
  bool depthwise;
  float exponent;
  int32_t top, left, bottom, right;  // padding of the source
  int64_t pixel, row, image;         // floats of the padded source
  std::vector<AdderSweep> sweeps;

  bool is_padded() const { return top || left || bottom || right; }
  bool has_sums() const { return direction == AdderDirection::kForward && !depthwise && exponent == 1.0f; }
  int64_t n_blocks() const { return (n_lanes + 15) / 16; }
  int64_t padded_rows() const { return int64_t{source_h} + top + bottom; }
  int64_t row_sums() const { return row / pixel * groups; }
};

// The task of a call, its weight laid out for the kernels.
AdderTask adder_task(const DsnnAdder& adder, AdderDirection direction);

// Calls visit(index in the weight, index in [group][block][tap][channel][16 lanes]).
template <typename Visit>
void each_weight(const AdderTask& t, const AdderSweep& s, int64_t n_taps, const Visit& visit) {
  const int64_t group_size = int64_t{t.n_lanes} * t.n_channels * n_taps, n_used = static_cast<int64_t>(s.taps.size());
  for (int64_t lane = 0; lane < int64_t{t.groups} * t.n_lanes; ++lane) {
    const int64_t group = lane / t.n_lanes, in_group = lane % t.n_lanes, block = group * t.n_blocks() + in_group / 16;
    const int64_t from = group * group_size + in_group * t.lane_stride;
    int64_t to = block * n_used * t.n_channels * 16 + in_group % 16;
    for (const AdderTap& tap : s.taps)
      for (int64_t channel = 0; channel < t.n_channels; ++channel, to += 16)
        visit(from + channel * t.channel_stride + tap.index, to);
  }
}

}  // namespace dsnn
