// The spatial shift of a plan; see `ShiftChannels` in plan.py.
#pragma once
#include <cstdint>

#include "steps.hpp"

namespace dsnn {

struct ShiftStep {
  View source, target;
  int32_t n_images;
  const int32_t* moves;  // (number of channels, down, right) of each
  int32_t n_moves;
};

// Part `part` of `n_parts` of the step.
void shift_channels(const ShiftStep& step, int part, int n_parts);

}  // namespace dsnn
