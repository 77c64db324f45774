// The spatial shift of a row of pixels: each vector of channels is put together by masked loads from several pixels.

namespace dsnn {
namespace {

// Where some lanes of a vector come from.
struct LaneSource {
  int64_t offset;
  LaneMask lanes;
};

// The sources of channels [first, first + n), n at most kLanes; returns their number. `run` is the first run that ends behind
// `first`, and becomes that of the next channels.
int lane_sources(const PixelMove& move, int64_t first, int64_t n, int& run, LaneSource* sources) {
  int n_sources = 0;
  for (; run < move.n_runs && move.runs[run].first < first + n; ++run) {
    const int64_t begin = move.runs[run].first - first, end = begin + move.runs[run].n;
    const int first_lane = static_cast<int>(begin > 0 ? begin : 0), end_lane = static_cast<int>(end < n ? end : n);
    sources[n_sources++] = {move.runs[run].offset, lanes_between(first_lane, end_lane)};
    if (end > n) break;
  }
  return n_sources;
}

// The compiler knows the number of sources, so that they stay in registers.
template <int kSources, bool kIsFull>
void move_lanes(const PixelMove& move, int64_t first, const LaneSource* sources, LaneMask stored) {
  LaneSource from[kSources + 1];
  each<kSources>([&](auto i) DSNN_LAMBDA { from[i] = sources[i]; });
  const float* x = move.x + first;
  float* y = move.y + first;
  for (int64_t pixel = 0; pixel < move.n_pixels; ++pixel, x += move.n_channels, y += move.n_channels) {
    Lanes lanes = no_lanes();
    each<kSources>([&](auto i) DSNN_LAMBDA { 
      const float* p = x + from[i].offset;
      lanes = kIsFull ? blend_lanes(lanes, p, from[i].lanes) : load_lanes(lanes, p, from[i].lanes);
    });
    if (kIsFull) {
      store_all_lanes(y, lanes);
    } else {
      store_lanes(y, lanes, stored);
    }
  }
}

template <int kMost, bool kIsFull>
void move_any_lanes(const PixelMove& move, int64_t first, const LaneSource* sources, int n_sources, LaneMask stored) {
  if (n_sources == kMost) return move_lanes<kMost, kIsFull>(move, first, sources, stored);
  if constexpr (kMost > 0) move_any_lanes<kMost - 1, kIsFull>(move, first, sources, n_sources, stored);
}

void move_pixels(const PixelMove& move) {
  LaneSource sources[kLanes];
  int run = 0;
  for (int64_t first = 0; first < move.n_channels; first += kLanes) {
    const int64_t left = move.n_channels - first, n = left < kLanes ? left : kLanes;
    const int n_sources = lane_sources(move, first, n, run, sources);
    const auto move_some = n == kLanes ? move_any_lanes<kLanes, true> : move_any_lanes<kLanes, false>;
    move_some(move, first, sources, n_sources, lanes_between(0, static_cast<int>(n)));
  }
}

}  // namespace
}  // namespace dsnn
