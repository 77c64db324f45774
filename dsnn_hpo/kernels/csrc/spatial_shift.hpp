// What an instruction set does for the spatial shift of images whose channels lie together.
#pragma once
#include <cstdint>

namespace dsnn {

// Channels [first, first + n) of a pixel come from `offset` floats further on.
struct ChannelRun {
  int64_t first, n, offset;
};

// Pixels one after the other in memory, each of n_channels floats. The runs are in order of their channels and do not
// overlap; the channels in none of them become 0.
struct PixelMove {
  const float* x;
  float* y;
  int64_t n_pixels, n_channels;
  const ChannelRun* runs;
  int n_runs;
};

}  // namespace dsnn
